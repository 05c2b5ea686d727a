"""Greedy search: at each frame the likeliest label, at most one, as in ESPnet's.

The state is a value that carries a stream from one run of frames to the next.

B batch, T frames, C context labels, E encoder width, J joint width, V labels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from espnet_local.decode.hypothesis import Hypothesis, Labels, Pending
from espnet_local.decode.search import SearchStep, decode
from espnet_local.decode.threads import on_one_thread
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.predictor import StatelessPredictor, push


class GreedyState(NamedTuple):
    """What a stream needs from the frames before; the batch is axis 0 everywhere."""

    history: Tensor  # (B, C) int64, the last labels
    frames_seen: Tensor  # (B,) int64
    score: Tensor  # (B,) float64: hours of frames add up


class GreedySearch:
    """Greedy search with given networks.

    Args:
        predictor, joiner: of a trained model.
    """

    def __init__(self, predictor: StatelessPredictor, joiner: Joiner) -> None:
        self.predictor = predictor
        self.joiner = joiner

    def init_state(self, batch: int, device: torch.device) -> GreedyState:
        """The state before the first frame."""
        return GreedyState(
            history=self.predictor.initial(batch, device),
            frames_seen=torch.zeros(batch, dtype=torch.long, device=device),
            score=torch.zeros(batch, dtype=torch.float64, device=device),
        )

    @on_one_thread
    @torch.no_grad()
    def advance(
        self, state: GreedyState, frames: Tensor, lengths: Tensor
    ) -> SearchStep[GreedyState]:
        """Takes in a run of frames; every label found is certain.

        Args:
            state: not changed.
            frames: (B, T, E)
            lengths: frames that count in each row, 0 included. (B,)
        """
        predictor, joiner = self.predictor, self.joiner
        lengths = lengths.to(frames.device)
        history = state.history
        projected_frames = joiner.project_encoder(frames)  # (B, T, J)
        prediction = joiner.project_predictor(predictor.step(history))  # (B, J)
        labels, logprobs = [], []
        for t in range(frames.shape[1]):
            logits = joiner.output(projected_frames[:, t] + prediction)
            logprob, label = logits.float().log_softmax(dim=-1).max(dim=-1)  # (B,)
            padding = lengths <= t
            label = label.masked_fill(padding, predictor.blank)
            labels.append(label)
            logprobs.append(logprob.masked_fill(padding, 0.0))
            rows = (label != predictor.blank).nonzero()[:, 0]
            if len(rows):
                pushed = push(history[rows], label[rows])
                history = history.index_copy(0, rows, pushed)
                changed = joiner.project_predictor(predictor.step(pushed))
                prediction = prediction.index_copy(0, rows, changed)
        if not labels:
            return SearchStep(state, [Labels()] * len(lengths))
        found, values = torch.stack(labels, dim=1), torch.stack(logprobs, dim=1).double()  # (B, T)
        after = GreedyState(history, state.frames_seen + lengths, state.score + values.sum(dim=1))
        return SearchStep(after, _labels(found, values, state.frames_seen, predictor.blank))

    def pending(self, state: GreedyState) -> list[Pending]:
        """Nothing: what is found is certain."""
        return [Pending(earliest=frames) for frames in state.frames_seen.tolist()]

    def score(self, state: GreedyState) -> list[float]:
        """The log-probability of the one alignment of each row."""
        return state.score.tolist()


def greedy_search(
    predictor: StatelessPredictor, joiner: Joiner, frames: Tensor, lengths: Tensor
) -> list[Hypothesis]:
    """The greedy hypothesis of each utterance.

    Args:
        frames: (B, T, E)
        lengths: (B,)
    """
    return decode(GreedySearch(predictor, joiner), frames, lengths)


def _labels(labels: Tensor, logprobs: Tensor, frames_before: Tensor, blank: int) -> list[Labels]:
    """(B, T) labels, blank where none was emitted, and (B, T) log-probabilities of each."""
    found = []
    for row, values, before in zip(labels.tolist(), logprobs.tolist(), frames_before.tolist()):
        at = [t for t, label in enumerate(row) if label != blank]
        found.append(
            Labels(
                tokens=tuple(row[t] for t in at),
                timestamps=tuple(before + t for t in at),
                token_logprobs=tuple(values[t] for t in at),
            )
        )
    return found
