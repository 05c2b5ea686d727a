"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Labels:
    """A label sequence, with one entry a label in each tuple; blanks are left out."""

    tokens: tuple[int, ...] = ()
    timestamps: tuple[int, ...] = ()  # frames at which the labels were emitted, from 0
    token_logprobs: tuple[float, ...] = ()  # of each label where it was emitted, nats

    def __add__(self, other: Labels) -> Labels:
        """One sequence after the other."""
        return Labels(
            self.tokens + other.tokens,
            self.timestamps + other.timestamps,
            self.token_logprobs + other.token_logprobs,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, start: int, stop: int | None = None) -> Labels:
        """The labels `start` to `stop`, as in a slice."""
        cut = slice(start, stop)
        return Labels(self.tokens[cut], self.timestamps[cut], self.token_logprobs[cut])


@dataclass(frozen=True, slots=True)
class Hypothesis(Labels):
    """The labels of a whole utterance."""

    score: float = 0.0  # log-probability, blanks included: greedy of one alignment, beam of all


@dataclass(frozen=True, slots=True)
class Pending:
    """What the best hypothesis of a stream holds beyond the labels that are certain."""

    labels: Labels = Labels()
    stable: int = 0  # so many of them will not change either, nor will their times
    earliest: int = 0  # no label behind those, found or to come, is ever at an earlier frame
