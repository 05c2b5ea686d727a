"""Beam search with at most one label a frame ("modified beam search" of icefall), in tensors.

Each frame extends every hypothesis by every label or, with blank, not at all. Hypotheses with equal
labels are one: their probabilities add up, so that a score is that of a label sequence, over all
alignments that the beam kept. Before pruning, not after, so no place in the beam is taken twice.
Within the K hypotheses, which differ, the only equal pair that can arise is (i extended by label v,
j left as it is) where j = i + v.

Equality is decided by two polynomial hashes modulo primes near 2^31 (a chance of 2^-62 a pair to
err): a state of fixed size, where comparing the labels themselves would cost more with every label.

The state is a value of fixed size, whatever the stream's age: twice a second of audio the labels
that all hypotheses share become certain and leave it, and hypotheses that still contradict the best
one in labels older than a second are given up. Both happen at fixed frames of the stream, so that
the result does not depend on how the frames were cut.

B batch, K beam, T frames, M recent labels, C context labels, E encoder width, J joint width, V
labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from espnet_local.decode.hypothesis import Hypothesis, Labels, Pending
from espnet_local.decode.search import SearchStep, decode
from espnet_local.decode.threads import on_one_thread
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.predictor import StatelessPredictor, push

HASH_MODULI = (2_147_483_647, 2_147_483_629)  # products of two residues fit int64
HASH_FACTORS = (1_103_515_245, 1_664_525_223)
SETTLE_EVERY_FRAMES = 25  # 0.5 s of the stream
DOUBT_FRAMES = 50  # 1 s: so long may hypotheses contradict each other
# What is younger than the doubt in the best hypothesis, and in the one at hand where it differs,
# and what came since: one label a frame at most.
RECENT_LABELS = 2 * DOUBT_FRAMES + SETTLE_EVERY_FRAMES
LABEL, FRAME, LOGPROB = range(3)  # what is kept of a recent label


@dataclass(frozen=True, kw_only=True)
class BeamState:
    """What a stream needs from the frames before; the batch is axis 0 everywhere."""

    frames_seen: Tensor  # (B,) int64
    history: Tensor  # (B, K, C) int64, the last labels
    score: Tensor  # (B, K) log-probability, -inf for an unused place; float64: hours add up
    emitted: Tensor  # (B, K) int64, number of labels
    key: Tensor  # (B, K, 2) int64, hashes of all labels
    prefix_key: Tensor  # (B, K, 2) int64, hashes of all labels but the last
    recent: Tensor  # (B, K, M, 3) float64: label, frame, log-probability; not certain yet
    recents: Tensor  # (B, K) int64, how many of them
    settled_frame: Tensor  # (B,) float64, of the last label that became certain

    @property
    def best(self) -> Tensor:
        """(B,) place of the best score per label, counting the blank at the start.

        Normalised by length as in ESPnet and icefall, against the transducer's leaning towards
        deletions.
        """
        return (self.score / (1 + self.emitted)).argmax(dim=1)


class BeamSearch:
    """Beam search with given networks.

    Args:
        predictor, joiner: of a trained model.
        beam: hypotheses kept.

    Raises:
        ValueError: when beam < 1.
    """

    def __init__(self, predictor: StatelessPredictor, joiner: Joiner, beam: int) -> None:
        if beam < 1:
            raise ValueError(f"beam must be >= 1, got {beam}")
        self.predictor = predictor
        self.joiner = joiner
        self.beam = beam

    def init_state(self, batch: int, device: torch.device) -> BeamState:
        """The state before the first frame: one empty hypothesis."""
        shape = (batch, self.beam)
        score = torch.full(shape, -torch.inf, dtype=torch.float64, device=device)
        score[:, 0] = 0.0
        nothing = torch.zeros(shape, dtype=torch.long, device=device)
        return BeamState(
            frames_seen=torch.zeros(batch, dtype=torch.long, device=device),
            history=self.predictor.initial(batch * self.beam, device).unflatten(0, shape),
            score=score,
            emitted=nothing,
            key=torch.zeros(*shape, 2, dtype=torch.long, device=device),
            # No key is negative: the empty sequence extends nothing.
            prefix_key=torch.full((*shape, 2), -1, dtype=torch.long, device=device),
            recent=torch.zeros(*shape, RECENT_LABELS, 3, dtype=torch.float64, device=device),
            recents=nothing,
            settled_frame=torch.zeros(batch, dtype=torch.float64, device=device),
        )

    @on_one_thread
    @torch.no_grad()
    def advance(self, state: BeamState, frames: Tensor, lengths: Tensor) -> SearchStep[BeamState]:
        """Takes in a run of frames.

        Args:
            state: not changed.
            frames: (B, T, E)
            lengths: frames that count in each row, 0 included; the rest are certain blanks. (B,)
        """
        lengths = lengths.to(frames.device)
        projected_frames = self.joiner.project_encoder(frames)  # (B, T, J)
        prediction = self._predict(state.history)
        found: list[list[tuple[float, ...]]] = [[] for _ in range(len(frames))]
        ages = list(zip(state.frames_seen.tolist(), lengths.tolist()))
        for t in range(frames.shape[1]):
            logits = self.joiner.output(projected_frames[:, t, None] + prediction)
            logprob = logits.float().log_softmax(dim=-1)  # (B, K, V)
            padding = (lengths <= t)[:, None, None]
            logprob = logprob.masked_fill(padding, -torch.inf)
            logprob[..., self.predictor.blank].masked_fill_(padding[..., 0], 0.0)
            state = _one_frame(state, logprob, self.predictor.blank)
            state = replace(state, frames_seen=state.frames_seen + (lengths > t))
            due = [t < n and (seen + t + 1) % SETTLE_EVERY_FRAMES == 0 for seen, n in ages]
            if any(due):
                state, settled = _settle(state, torch.tensor(due, device=frames.device))
                for row, labels in zip(found, settled):
                    row.extend(labels)
            prediction = self._predict(state.history)
        return SearchStep(state, [_labels(row) for row in found])

    def pending(self, state: BeamState) -> list[Pending]:
        """The recent labels of the best hypothesis, and how many of them will not change.

        Those are stable that all hypotheses have at the same frames: where only the labels are the
        same, another hypothesis may be the best when they settle, and its times count.
        """
        recent = _recent_in_order(state)
        shared = _shared(state, [LABEL, FRAME])
        stable = shared.masked_fill(state.score.isinf(), RECENT_LABELS).amin(dim=1)  # (B,)
        first = stable.clamp_max(RECENT_LABELS - 1)[:, None, None]
        behind = recent[..., FRAME].take_along_dim(first, dim=2)[..., 0]  # (B, K)
        some = (state.recents > stable[:, None]) & state.score.isfinite()
        earliest = torch.where(some, behind, state.frames_seen[:, None]).amin(dim=1)
        counts = _of_best(state.recents, state.best).tolist()
        labels = [_labels(row[:n]) for row, n in zip(_row_of_best(recent, state).tolist(), counts)]
        rest = zip(stable.tolist(), earliest.long().tolist())
        return [Pending(own, *numbers) for own, numbers in zip(labels, rest)]

    def score(self, state: BeamState) -> list[float]:
        """The log-probability of the best hypothesis of each row, over all alignments kept."""
        return _of_best(state.score, state.best).tolist()

    def _predict(self, history: Tensor) -> Tensor:
        """(B, K, C) -> (B, K, J)"""
        predictions = self.predictor.step(history.flatten(0, 1))  # (B, K, C) -> (B * K, D)
        return self.joiner.project_predictor(predictions).unflatten(0, history.shape[:2])


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
    return decode(BeamSearch(predictor, joiner, beam), frames, lengths)


def _one_frame(state: BeamState, logprob: Tensor, blank: int) -> BeamState:
    """Extends, merges and prunes, with the log-probabilities (B, K, V) of one frame."""
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
    # A merged hypothesis takes its times from the likelier of its two pasts.
    arrived = unchanged[..., 0] & (arrival > staying).gather(1, parent)
    came_from = torch.where(arrived, source.gather(1, parent), parent)
    newest = torch.where(arrived, last.gather(1, parent), label)
    newest_logprob = logprob.flatten(1).gather(1, came_from * vocab + newest)
    recent, recents = _appended(state, came_from, newest, newest_logprob, newest != blank)
    return BeamState(
        frames_seen=state.frames_seen,
        history=torch.where(unchanged, history, push(history, label)),
        score=score,
        emitted=state.emitted.gather(1, parent) + (label != blank),
        key=torch.where(unchanged, key, _extended(key, label)),
        prefix_key=torch.where(unchanged, prefix_key, key),
        recent=recent,
        recents=recents,
        settled_frame=state.settled_frame,
    )


def _appended(
    state: BeamState, parent: Tensor, label: Tensor, logprob: Tensor, emits: Tensor
) -> tuple[Tensor, Tensor]:
    """The recent labels of the hypotheses' pasts, (B, K) each, with one more where one emits."""
    recent = state.recent.take_along_dim(parent[..., None, None], dim=1)
    recents = state.recents.gather(1, parent)
    frame = state.frames_seen[:, None].expand_as(parent)
    entry = torch.stack([label.double(), frame.double(), logprob.double()], dim=-1)  # (B, K, 3)
    # Written at every place's end; it counts where the hypothesis emits.
    place = recents.clamp_max(RECENT_LABELS - 1)[..., None, None].expand(-1, -1, 1, 3)
    written = recent.scatter(2, place, entry[:, :, None])
    return torch.where(emits[..., None, None], written, recent), recents + emits


def _settle(state: BeamState, due: Tensor) -> tuple[BeamState, list[list[tuple[float, ...]]]]:
    """Gives up on hypotheses that contradict the best in old labels, and emits what all share.

    Args:
        due: (B,) bool, the rows it is time for.

    Returns:
        The state without what was emitted, and that: a list of (label, frame, log-probability) for
        each row.
    """
    best, shared = _row_of_best(_recent_in_order(state), state), _shared(state, [LABEL])
    place = torch.arange(RECENT_LABELS, device=best.device)
    old = state.recent[..., FRAME] < (state.frames_seen - DOUBT_FRAMES)[:, None, None]
    old &= place < state.recents[..., None]  # (B, K, M)
    certain = _of_best(old.sum(dim=2), state.best)  # (B,)
    lacks = shared < certain[:, None]
    adds = (old & (place >= shared[..., None])).any(dim=2)
    score = state.score.masked_fill(due[:, None] & (lacks | adds), -torch.inf)
    common = shared.masked_fill(score.isinf(), RECENT_LABELS).amin(dim=1)  # (B,)
    taken = torch.where(due, common, 0)
    index = (place + taken[:, None]).clamp_max(RECENT_LABELS - 1)  # (B, M)
    newest = best[..., FRAME].take_along_dim((taken - 1).clamp_min(0)[:, None], dim=1)[:, 0]
    after = replace(
        state,
        score=score,
        recent=state.recent.take_along_dim(index[:, None, :, None], dim=2),
        recents=(state.recents - taken[:, None]).clamp_min(0),
        settled_frame=torch.where(taken > 0, newest, state.settled_frame),
    )
    return after, [row[:n] for row, n in zip(best.tolist(), taken.tolist())]


def _shared(state: BeamState, what: list[int]) -> Tensor:
    """(B, K) number of labels, from the first recent one on, in which `what` equals the best's."""
    recent = _recent_in_order(state)
    place = torch.arange(RECENT_LABELS, device=recent.device)
    ends = torch.minimum(state.recents, _of_best(state.recents, state.best)[:, None])
    best = _row_of_best(recent, state)[:, None]
    equal = (recent[..., what] == best[..., what]).all(dim=-1)
    return (equal & (place < ends[..., None])).long().cumprod(dim=-1).sum(dim=-1)


def _of_best(values: Tensor, best: Tensor) -> Tensor:
    """(B, K) values and (B,) places -> (B,)"""
    return values.gather(1, best[:, None])[:, 0]


def _row_of_best(values: Tensor, state: BeamState) -> Tensor:
    """(B, K, M, 3) values -> (B, M, 3)"""
    return values.take_along_dim(state.best[:, None, None, None], dim=1)[:, 0]


def _recent_in_order(state: BeamState) -> Tensor:
    """The recent labels, none earlier than what settled before. (B, K, M, 3)

    What settled has the times of the hypothesis that was the best then; another one, now the best,
    may have had the same labels at other times.
    """
    label, frame, logprob = state.recent.unbind(dim=-1)
    in_order = frame.maximum(state.settled_frame[:, None, None])
    return torch.stack([label, in_order, logprob], dim=-1)


def _labels(entries: list[tuple[float, ...]]) -> Labels:
    return Labels(
        tokens=tuple(int(entry[LABEL]) for entry in entries),
        timestamps=tuple(int(entry[FRAME]) for entry in entries),
        token_logprobs=tuple(entry[LOGPROB] for entry in entries),
    )


def _extended(key: Tensor, label: Tensor) -> Tensor:
    """The keys of label sequences (B, K, 2) with one label more (B, K)."""
    return (key * key.new_tensor(HASH_FACTORS) + label[..., None] + 1) % key.new_tensor(HASH_MODULI)
