"""Greedy search: at each frame the likeliest label, at most one, as in ESPnet's.

The state is a value that carries a stream from one run of frames to the next: `advance` over all
frames at once and over any cuts of them give the same labels.

B batch, T frames, C context labels, E encoder width, J joint width, V labels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from espnet_local.decode.hypothesis import Hypothesis
from espnet_local.decode.threads import on_one_thread
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.predictor import StatelessPredictor, push


class GreedyState(NamedTuple):
    """What a stream needs from the frames before; the batch is axis 0 everywhere."""

    history: Tensor  # (B, C) int64, the last labels
    frames_seen: Tensor  # (B,) int64
    score: Tensor  # (B,) float64: hours of frames add up


class GreedyOutput(NamedTuple):
    """The state after a run of frames, and what was emitted in it."""

    state: GreedyState
    emitted: list[Hypothesis]  # B; timestamps count from the start of the stream


def init_state(predictor: StatelessPredictor, batch: int, device: torch.device) -> GreedyState:
    """The state before the first frame."""
    return GreedyState(
        history=predictor.initial(batch, device),
        frames_seen=torch.zeros(batch, dtype=torch.long, device=device),
        score=torch.zeros(batch, dtype=torch.float64, device=device),
    )


@on_one_thread
@torch.no_grad()
def advance(
    predictor: StatelessPredictor,
    joiner: Joiner,
    state: GreedyState,
    frames: Tensor,
    lengths: Tensor,
) -> GreedyOutput:
    """Takes in a run of frames.

    Args:
        frames: (B, T, E)
        lengths: frames that count in each row, 0 included. (B,)
    """
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
        return GreedyOutput(state, [Hypothesis((), (), (), 0.0)] * len(lengths))
    emitted = _hypotheses(
        torch.stack(labels, dim=1),
        torch.stack(logprobs, dim=1).double(),
        state.frames_seen,
        predictor.blank,
    )
    gained = torch.stack(logprobs, dim=1).double().sum(dim=1)
    return GreedyOutput(
        GreedyState(history, state.frames_seen + lengths, state.score + gained), emitted
    )


def greedy_search(
    predictor: StatelessPredictor, joiner: Joiner, frames: Tensor, lengths: Tensor
) -> list[Hypothesis]:
    """The greedy hypothesis of each utterance.

    Args:
        frames: (B, T, E)
        lengths: (B,)
    """
    state = init_state(predictor, len(frames), frames.device)
    return advance(predictor, joiner, state, frames, lengths).emitted


def _hypotheses(
    labels: Tensor, logprobs: Tensor, frames_before: Tensor, blank: int
) -> list[Hypothesis]:
    """(B, T) labels, blank where none was emitted, and (B, T) log-probabilities of each."""
    found = []
    for row, values, before in zip(labels.tolist(), logprobs.tolist(), frames_before.tolist()):
        at = [t for t, label in enumerate(row) if label != blank]
        found.append(
            Hypothesis(
                tokens=tuple(row[t] for t in at),
                timestamps=tuple(before + t for t in at),
                token_logprobs=tuple(values[t] for t in at),
                score=sum(values),
            )
        )
    return found
