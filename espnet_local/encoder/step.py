"""One stream step of the encoder: samples in, the frames of whole chunks out.

Chunk c of C frames is computed from samples [320 C c, 320 C (c + 1) + 80) and the state alone, with
the functions that the offline pass uses. B batch, N samples, M samples of a chunk, T frames, Q
frames of one chunk, D width, L layers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES
from espnet_local.encoder.block import attend, project
from espnet_local.encoder.cache import Cache, EncoderState, chunk_samples, extended, stream_mask
from espnet_local.encoder.frontend import extract_features, frame_count
from espnet_local.encoder.position import convolve
from espnet_local.encoder.waveform import normalise_waveform
from espnet_local.masks import padding_mask
from espnet_local.state import select, stack

if TYPE_CHECKING:
    from espnet_local.encoder.streaming import StreamingEncoder


class StepOutput(NamedTuple):
    """The frames that became complete, and the state after them."""

    frames: Tensor  # (B, T, D), zero where padded
    lengths: Tensor  # (B,) int64
    state: EncoderState


def step(
    encoder: StreamingEncoder, samples: Tensor, lengths: Tensor, last: Tensor, state: EncoderState
) -> StepOutput:
    """Takes in samples of any number and gives the frames of the chunks that they complete.

    Args:
        encoder: the weights.
        samples: (B, N) in [-1, 1].
        lengths: (B,) samples that count in each row, 0 included.
        last: (B,) bool, True where the stream ends with these samples: its rest is encoded too.
        state: of the B streams.

    Raises:
        ValueError: for shapes that do not fit, or samples after the last ones.
    """
    counts, ends = lengths.tolist(), last.tolist()
    _check(samples, counts, ends, state)
    chunk = state.context.chunk_frames
    assert chunk is not None  # no state without chunks is ever made
    hop, window = chunk * HOP_SAMPLES, chunk_samples(chunk)
    # Plain numbers: as tensors they would take as long as a layer.
    waited = state.pending_samples.tolist()
    totals = [have + more for have, more in zip(waited, counts)]
    whole = [max(0, (total - window) // hop + 1) for total in totals]
    rest = [total - chunks * hop for total, chunks in zip(totals, whole)]
    ending = [end and left >= RECEPTIVE_SAMPLES for end, left in zip(ends, rest)]
    waiting = _joined(state.pending, waited, samples)
    parts: list[Part] = []
    for i in range(max((n + more for n, more in zip(whole, ending)), default=0)):
        rows = [row for row, n in enumerate(whole) if n + ending[row] > i]
        sizes = [min(totals[row] - i * hop, window) for row in rows]
        piece = waiting[:, i * hop : i * hop + max(sizes)]
        if len(rows) == len(totals):
            frames, state = _encode_chunk(encoder, piece, sizes, state)
        else:
            index = torch.tensor(rows, device=piece.device)
            frames, changed = _encode_chunk(encoder, piece[index], sizes, select(state, index))
            state = _with_rows(state, index, changed)
        parts.append(Part(rows, i * chunk, frames))
    kept = [0 if end else left for end, left in zip(ends, rest)]
    state = replace(
        state,
        finished=state.finished | last,
        pending=_tail(waiting, [n * hop for n in whole], kept, window - 1),
        pending_samples=state.pending_samples.new_tensor(kept),
    )
    done = [n * chunk + (frame_count(left) if e else 0) for n, left, e in zip(whole, rest, ending)]
    frames = _together(parts, done, state.past_frames.new_zeros(0, 0, encoder.output_size()))
    return StepOutput(frames, state.frames_seen.new_tensor(done), state)


class Part(NamedTuple):
    """Frames of one chunk of some streams."""

    rows: list[int]
    start: int  # among the step's frames
    frames: Tensor  # (rows, Q, D)


def _encode_chunk(
    encoder: StreamingEncoder, samples: Tensor, counts: list[int], state: EncoderState
) -> tuple[Tensor, EncoderState]:
    """One chunk of every stream.

    Args:
        samples: (B, M)
        counts: B, samples that exist, >= 400; fewer than the chunk's only at a stream's end.

    Returns:
        (B, Q, D) frames, zero where padded, and the state after them.
    """
    lengths = state.frames_seen.new_tensor([frame_count(count) for count in counts])
    normal, statistics = normalise_waveform(samples, state.statistics)
    features = extract_features(encoder.feature_extractor, normal)
    x = encoder.encoder.feature_projection(features)  # (B, Q, D)
    padding = None  # as in most chunks
    if frame_count(min(counts)) < x.shape[1]:
        padding = ~padding_mask(lengths, x.shape[1])[:, :, None]
        x = x.masked_fill(padding, 0.0)
    transformer = encoder.encoder.transformer
    past_frames = torch.cat([state.past_frames, x], dim=1)  # (B, P + Q, D)
    future = transformer.pos_conv_embed.kernel_size - 1 - state.past_frames.shape[1]
    x = x + convolve(transformer.pos_conv_embed, F.pad(past_frames, (0, 0, 0, future)))
    mask = stream_mask(state, lengths, x.shape[1])
    keys, values = [], []
    for i, layer in enumerate(transformer.layers):
        projected = project(layer, x)
        keys.append(projected.keys)
        values.append(projected.values)
        seen_keys = torch.cat([state.sink_keys[:, i], state.left_keys[:, i], keys[i]], dim=2)
        seen_values = torch.cat([state.sink_values[:, i], state.left_values[:, i], values[i]], 2)
        x = attend(layer, x, projected.queries, seen_keys, seen_values, mask)
    x = transformer.layer_norm(x)
    if padding is not None:
        x = x.masked_fill(padding, 0.0)
    new = Cache(torch.stack(keys, dim=1), torch.stack(values, dim=1))
    after = replace(
        extended(state, new, lengths),
        frames_seen=state.frames_seen + lengths,
        statistics=statistics,
        past_frames=past_frames[:, -state.past_frames.shape[1] :],
    )
    return x, after


def _check(samples: Tensor, counts: list[int], ends: list[bool], state: EncoderState) -> None:
    batch = len(state.frames_seen)
    if samples.dim() != 2 or len(samples) != batch:
        raise ValueError(f"samples must be of shape ({batch}, N), got {tuple(samples.shape)}")
    if len(counts) != batch or len(ends) != batch:
        raise ValueError(
            f"lengths and last must be of shape ({batch},), got ({len(counts)},) and ({len(ends)},)"
        )
    if not all(0 <= count <= samples.shape[1] for count in counts):
        raise ValueError(f"lengths must be in [0, {samples.shape[1]}] samples, got {counts}")
    finished = state.finished.tolist()
    late = [row for row in range(batch) if finished[row] and (counts[row] or ends[row])]
    if late:
        raise ValueError(f"samples after the last ones in streams {late} of the batch")


def _joined(pending: Tensor, waited: list[int], samples: Tensor) -> Tensor:
    """Waiting samples with the new ones behind them, (B, N')."""
    samples = samples.to(pending)
    if len(set(waited)) == 1:
        return torch.cat([pending[:, : waited[0]], samples], dim=1)
    both = torch.cat([pending, samples], dim=1)
    place = torch.arange(both.shape[1], device=both.device)[None]
    had = torch.tensor(waited, device=both.device, dtype=torch.long)[:, None]
    index = torch.where(place < had, place, place + pending.shape[1] - had)
    return both.gather(1, index.clamp_max(both.shape[1] - 1))


def _tail(waiting: Tensor, starts: list[int], counts: list[int], width: int) -> Tensor:
    """`counts` samples of each row from `starts` on, zeros behind them: (B, N') -> (B, width)."""
    rows = [row[a : a + n] for row, a, n in zip(waiting, starts, counts)]
    return torch.stack([F.pad(row, (0, width - len(row))) for row in rows]) if rows else waiting


def _together(parts: list[Part], lengths: list[int], nothing: Tensor) -> Tensor:
    """The frames of all parts, (B, T, D), zero where a stream has none."""
    if len(parts) == 1 and len(parts[0].rows) == len(lengths):
        return parts[0].frames
    out = nothing.new_zeros(len(lengths), max(lengths, default=0), nothing.shape[2])
    for rows, start, frames in parts:
        out[rows, start : start + frames.shape[1]] = frames
    return out


def _with_rows(state: EncoderState, rows: Tensor, changed: EncoderState) -> EncoderState:
    """The state with some rows exchanged."""
    keep = torch.ones(len(state.frames_seen), dtype=torch.bool, device=rows.device)
    keep[rows] = False
    others = keep.nonzero()[:, 0]
    return select(stack([select(state, others), changed]), torch.cat([others, rows]).argsort())
