"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A label sequence, with one entry a label in each tuple; blanks are left out."""

    tokens: tuple[int, ...]
    timestamps: tuple[int, ...]  # frames at which the labels were emitted, counted from 0
    token_logprobs: tuple[float, ...]  # of each label where it was emitted, nats
    score: float  # log-probability, blanks included: greedy of one alignment, beam of all it merged
