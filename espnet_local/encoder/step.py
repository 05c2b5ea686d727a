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
    _check(samples, lengths, last, state)
    chunk = state.context.chunk_frames
    assert chunk is not None  # no state without chunks is ever made
    hop, window = chunk * HOP_SAMPLES, chunk_samples(chunk)
    waiting, totals = _joined(state, samples, lengths)
    whole = torch.div(totals - window, hop, rounding_mode="floor").add(1).clamp_min(0)
    rest = totals - whole * hop
    rounds = whole + (last & (rest >= RECEPTIVE_SAMPLES))
    frame_counts = whole * chunk + torch.where(last, frame_count(rest), 0)
    out = state.past_frames.new_zeros(len(totals), _largest(frame_counts), encoder.output_size())
    for i in range(_largest(rounds)):
        rows = (rounds > i).nonzero()[:, 0]
        counts = (totals[rows] - i * hop).clamp_max(window)
        piece = waiting[rows, i * hop : i * hop + _largest(counts)]
        if len(rows) == len(totals):
            frames, state = _encode_chunk(encoder, piece, counts, state)
        else:
            frames, changed = _encode_chunk(encoder, piece, counts, select(state, rows))
            state = _with_rows(state, rows, changed)
        out[rows, i * chunk : i * chunk + frames.shape[1]] = frames
    kept = torch.where(last, 0, rest)
    state = replace(
        state,
        finished=state.finished | last,
        pending=_tail(waiting, whole * hop, kept, window - 1),
        pending_samples=kept,
    )
    return StepOutput(out, frame_counts, state)


def _encode_chunk(
    encoder: StreamingEncoder, samples: Tensor, counts: Tensor, state: EncoderState
) -> tuple[Tensor, EncoderState]:
    """One chunk of every stream.

    Args:
        samples: (B, M)
        counts: (B,) samples that exist, >= 400; fewer than the chunk's only at a stream's end.

    Returns:
        (B, Q, D) frames, zero where padded, and the state after them.
    """
    lengths = frame_count(counts)
    normal, statistics = normalise_waveform(samples, state.statistics)
    features = extract_features(encoder.feature_extractor, normal)
    x = encoder.encoder.feature_projection(features)  # (B, Q, D)
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
    x = transformer.layer_norm(x).masked_fill(padding, 0.0)
    new = Cache(torch.stack(keys, dim=1), torch.stack(values, dim=1))
    after = replace(
        extended(state, new, lengths),
        frames_seen=state.frames_seen + lengths,
        statistics=statistics,
        past_frames=past_frames[:, -state.past_frames.shape[1] :],
    )
    return x, after


def _check(samples: Tensor, lengths: Tensor, last: Tensor, state: EncoderState) -> None:
    batch = len(state.frames_seen)
    if samples.dim() != 2 or len(samples) != batch:
        raise ValueError(f"samples must be of shape ({batch}, N), got {tuple(samples.shape)}")
    if lengths.shape != (batch,) or last.shape != (batch,):
        raise ValueError(
            f"lengths and last must be of shape ({batch},), "
            f"got {tuple(lengths.shape)} and {tuple(last.shape)}"
        )
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= samples.shape[1]:
        raise ValueError(
            f"lengths must be in [0, {samples.shape[1]}] samples, got {lengths.tolist()}"
        )
    if late := (state.finished & ((lengths > 0) | last)).nonzero()[:, 0].tolist():
        raise ValueError(f"samples after the last ones in streams {late} of the batch")


def _joined(state: EncoderState, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Waiting samples with the new ones behind them, (B, N'), and how many they are, (B,)."""
    totals = state.pending_samples + lengths
    both = torch.cat([state.pending, samples.to(state.pending)], dim=1)
    place = torch.arange(_largest(totals), device=samples.device)[None]
    waited = state.pending_samples[:, None]
    shift = state.pending.shape[1] - waited
    index = torch.where(place < waited, place, place + shift).clamp_max(both.shape[1] - 1)
    return both.gather(1, index), totals


def _tail(waiting: Tensor, start: Tensor, count: Tensor, width: int) -> Tensor:
    """`count` samples of each row from `start` on, zeros behind them: (B, N'), -> (B, width)."""
    place = torch.arange(width, device=waiting.device)[None]
    padded = F.pad(waiting, (0, 1))
    index = (start[:, None] + place).clamp_max(padded.shape[1] - 1)
    return padded.gather(1, index).masked_fill(place >= count[:, None], 0.0)


def _with_rows(state: EncoderState, rows: Tensor, changed: EncoderState) -> EncoderState:
    """The state with some rows exchanged."""
    keep = torch.ones(len(state.frames_seen), dtype=torch.bool, device=rows.device)
    keep[rows] = False
    others = keep.nonzero()[:, 0]
    return select(stack([select(state, others), changed]), torch.cat([others, rows]).argsort())


def _largest(counts: Tensor) -> int:
    return int(counts.max()) if len(counts) else 0
