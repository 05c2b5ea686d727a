"""Searches over a stream of frames, and over whole utterances.

A search is a function of (state, frames): fed frame by frame, chunk by chunk or all at once, it
emits the same labels. B batch, T frames, E encoder width.
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from espnet_local.decode.hypothesis import Hypothesis, Labels, Pending

Method = Literal["greedy", "beam"]
State = TypeVar("State")


class SearchStep(NamedTuple, Generic[State]):
    """The state after a run of frames, and the labels that became certain in it."""

    state: State
    emitted: list[Labels]  # B; timestamps count from the start of the stream


class Search(Protocol[State]):
    """What greedy and beam search have in common."""

    def init_state(self, batch: int, device: torch.device) -> State:
        """The state before the first frame."""

    def advance(self, state: State, frames: Tensor, lengths: Tensor) -> SearchStep[State]:
        """Takes in a run of frames.

        Args:
            state: not changed.
            frames: (B, T, E)
            lengths: (B,) frames that count in each row, 0 included.
        """

    def pending(self, state: State) -> list[Pending]:
        """What the best hypothesis of each row holds beyond the labels emitted so far."""

    def score(self, state: State) -> list[float]:
        """The log-probability of the best hypothesis of each row."""


def decode(search: Search[State], frames: Tensor, lengths: Tensor) -> list[Hypothesis]:
    """The best hypothesis of each utterance.

    Args:
        search: greedy or beam.
        frames: (B, T, E)
        lengths: (B,)
    """
    start = search.init_state(len(frames), frames.device)
    state, emitted = search.advance(start, frames, lengths)
    found = []
    for certain, rest, score in zip(emitted, search.pending(state), search.score(state)):
        labels = certain + rest.labels
        found.append(
            Hypothesis(labels.tokens, labels.timestamps, labels.token_logprobs, score=score)
        )
    return found
