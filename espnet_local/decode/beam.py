"""Beam search with at most one label a frame ("modified beam search" of icefall), in tensors.

Each frame extends every hypothesis by every label or, with blank, not at all. Hypotheses with equal
labels are one: their probabilities add up, so that a score is that of a label sequence, over all
alignments that the beam kept. Before pruning, not after, so no place in the beam is taken twice.
Within the K hypotheses, which differ, the only equal pair that can arise is (i extended by label v,
j left as it is) where j = i + v.

Equality is decided by two polynomial hashes modulo primes near 2^31 (a chance of 2^-62 a pair to
err): a state of fixed size, where comparing the labels themselves would cost more with every label.

The state is a value, as in `greedy`. B batch, K beam, T frames, C context labels, E encoder width,
J joint width, V labels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from espnet_local.decode.hypothesis import Hypothesis
from espnet_local.decode.threads import on_one_thread
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.predictor import StatelessPredictor, push

HASH_MODULI = (2_147_483_647, 2_147_483_629)  # products of two residues fit int64
HASH_FACTORS = (1_103_515_245, 1_664_525_223)


class BeamStep(NamedTuple):
    """Where each hypothesis came from in one frame, or in N frames with N before K."""

    parent: Tensor  # (B, K) int64, place in the beam one frame earlier
    label: Tensor  # (B, K) int64, the label emitted, or blank
    logprob: Tensor  # (B, K) float32, of that label


class BeamState(NamedTuple):
    """What a stream needs from the frames before; the batch is axis 0 everywhere."""

    history: Tensor  # (B, K, C) int64, the last labels
    score: Tensor  # (B, K) log-probability, -inf for an unused place; float64: hours add up
    emitted: Tensor  # (B, K) int64, number of labels
    key: Tensor  # (B, K, 2) int64, hashes of all labels
    prefix_key: Tensor  # (B, K, 2) int64, hashes of all labels but the last
    trace: BeamStep  # (B, N, K) each, over the N frames seen


def init_state(
    predictor: StatelessPredictor, batch: int, beam: int, device: torch.device
) -> BeamState:
    """The state before the first frame: one empty hypothesis.

    Raises:
        ValueError: when beam < 1.
    """
    if beam < 1:
        raise ValueError(f"beam must be >= 1, got {beam}")
    score = torch.full((batch, beam), -torch.inf, dtype=torch.float64, device=device)
    score[:, 0] = 0.0
    nothing = torch.zeros(batch, 0, beam, dtype=torch.long, device=device)
    return BeamState(
        history=predictor.initial(batch * beam, device).unflatten(0, (batch, beam)),
        score=score,
        emitted=torch.zeros(batch, beam, dtype=torch.long, device=device),
        key=torch.zeros(batch, beam, 2, dtype=torch.long, device=device),
        # No key is negative: the empty sequence extends nothing.
        prefix_key=torch.full((batch, beam, 2), -1, dtype=torch.long, device=device),
        trace=BeamStep(nothing, nothing, nothing.float()),
    )


@on_one_thread
@torch.no_grad()
def advance(
    predictor: StatelessPredictor,
    joiner: Joiner,
    state: BeamState,
    frames: Tensor,
    lengths: Tensor,
) -> BeamState:
    """Takes in a run of frames; the trace grows by T.

    Args:
        frames: (B, T, E)
        lengths: frames that count in each row, 0 included; the rest are certain blanks. (B,)
    """
    lengths = lengths.to(frames.device)
    projected_frames = joiner.project_encoder(frames)  # (B, T, J)
    prediction = _predict(predictor, joiner, state.history)
    steps = []
    for t in range(frames.shape[1]):
        logits = joiner.output(projected_frames[:, t, None] + prediction)
        logprob = logits.float().log_softmax(dim=-1)  # (B, K, V)
        padding = (lengths <= t)[:, None, None]
        logprob = logprob.masked_fill(padding, -torch.inf)
        logprob[..., predictor.blank].masked_fill_(padding[..., 0], 0.0)
        state, step = _one_frame(state, logprob, predictor.blank)
        steps.append(step)
        prediction = _predict(predictor, joiner, state.history)
    if not steps:
        return state
    fields = zip(state.trace, zip(*steps))
    trace = BeamStep(*(torch.cat([old, torch.stack(new, dim=1)], dim=1) for old, new in fields))
    return state._replace(trace=trace)


def best(state: BeamState, blank: int) -> list[Hypothesis]:
    """The hypothesis of each row with the best score per label, counting the blank at the start.

    Normalised by length as in ESPnet and icefall, against the transducer's leaning towards
    deletions.
    """
    places = (state.score / (1 + state.emitted)).argmax(dim=1).tolist()
    scores, (parents, labels, logprobs) = state.score.tolist(), (f.tolist() for f in state.trace)
    return [
        _trace_back(parents[b], labels[b], logprobs[b], place, blank, scores[b][place])
        for b, place in enumerate(places)
    ]


def beam_search(
    predictor: StatelessPredictor, joiner: Joiner, frames: Tensor, lengths: Tensor, beam: int
) -> list[Hypothesis]:
    """The best hypothesis of each utterance.

    Args:
        frames: (B, T, E)
        lengths: (B,)
        beam: hypotheses kept.

    Raises:
        ValueError: when beam < 1.
    """
    state = init_state(predictor, len(frames), beam, frames.device)
    return best(advance(predictor, joiner, state, frames, lengths), predictor.blank)


def _predict(predictor: StatelessPredictor, joiner: Joiner, history: Tensor) -> Tensor:
    """(B, K, C) -> (B, K, J)"""
    predictions = predictor.step(history.flatten(0, 1))  # (B, K, C) -> (B * K, D)
    return joiner.project_predictor(predictions).unflatten(0, history.shape[:2])


def _one_frame(state: BeamState, logprob: Tensor, blank: int) -> tuple[BeamState, BeamStep]:
    """Extends, merges and prunes.

    Args:
        logprob: (B, K, V)

    Returns:
        The state after the frame, its trace as before, and the frame's part of the trace.
    """
    beam, vocab = logprob.shape[1:]
    last = state.history[..., -1]  # (B, K)
    candidates = state.score[..., None] + logprob  # (B, K, V) float64

    # child[b, i, j]: hypothesis j is hypothesis i and one label more; arrival: its score coming
    # from i.
    child = (state.key[:, :, None] == state.prefix_key[:, None]).all(dim=-1)  # (B, K, K)
    child &= state.score.isfinite()[:, None]
    labels = last[:, None].expand_as(child)
    arrival, source = candidates.gather(2, labels).masked_fill(~child, -torch.inf).max(dim=1)
    staying = candidates[..., blank].clone()
    # What has arrived at j leaves the list of i. Added, not assigned: two j may have the same last
    # label.
    moved = torch.zeros_like(child, dtype=candidates.dtype).masked_fill(child, -torch.inf)
    candidates = candidates.scatter_add(2, labels, moved)
    candidates[..., blank] = torch.logaddexp(staying, arrival)

    score, index = candidates.flatten(1).topk(beam, dim=1)  # (B, K * V) -> (B, K)
    parent, label = index // vocab, index % vocab
    unchanged = (label == blank)[..., None]
    history = state.history.take_along_dim(parent[..., None], dim=1)
    key = state.key.take_along_dim(parent[..., None], dim=1)
    prefix_key = state.prefix_key.take_along_dim(parent[..., None], dim=1)
    after = BeamState(
        history=torch.where(unchanged, history, push(history, label)),
        score=score,
        emitted=state.emitted.gather(1, parent) + (label != blank),
        key=torch.where(unchanged, key, _extended(key, label)),
        prefix_key=torch.where(unchanged, prefix_key, key),
        trace=state.trace,
    )
    # A merged hypothesis takes its times from the likelier of its two pasts.
    arrived = unchanged[..., 0] & (arrival > staying).gather(1, parent)
    came_from = torch.where(arrived, source.gather(1, parent), parent)
    emitted = torch.where(arrived, last.gather(1, parent), label)
    emitted_logprob = logprob.flatten(1).gather(1, came_from * vocab + emitted)
    return after, BeamStep(came_from, emitted, emitted_logprob)


def _extended(key: Tensor, label: Tensor) -> Tensor:
    """The keys of label sequences (B, K, 2) with one label more (B, K)."""
    return (key * key.new_tensor(HASH_FACTORS) + label[..., None] + 1) % key.new_tensor(HASH_MODULI)


def _trace_back(
    parents: list[list[int]],
    labels: list[list[int]],
    logprobs: list[list[float]],
    place: int,
    blank: int,
    score: float,
) -> Hypothesis:
    """Follows one hypothesis from its place in the last frame to the first. Lists: (N, K)"""
    emissions = []
    for n in range(len(parents) - 1, -1, -1):
        if labels[n][place] != blank:
            emissions.append((labels[n][place], n, logprobs[n][place]))
        place = parents[n][place]
    emissions.reverse()
    return Hypothesis(
        tokens=tuple(label for label, _, _ in emissions),
        timestamps=tuple(n for _, n, _ in emissions),
        token_logprobs=tuple(logprob for _, _, logprob in emissions),
        score=score,
    )
