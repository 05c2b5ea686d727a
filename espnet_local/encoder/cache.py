"""What a stream remembers between chunks: the encoder's state.

Attention in every layer sees [sinks | left context | chunk]. The first two are kept as keys and
values in buffers of fixed length: the sinks from the front, the left context with the newest frame
last. Which places hold a frame follows from the number of frames seen, so streams of different ages
share a batch. Left context "all" alone has no bound: its buffer grows with the stream.

B batch, L layers, H heads, S sink frames, W frames of left context, P past frames of the positional
convolution, Q frames of the chunk, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES, ContextSpec
from espnet_local.encoder.spec import Architecture
from espnet_local.encoder.waveform import WaveformStatistics, initial_statistics
from espnet_local.masks import context_mask, padding_mask

OVERLAP_SAMPLES = RECEPTIVE_SAMPLES - HOP_SAMPLES  # 80: what the last frame of a chunk sees past it


@dataclass(frozen=True, kw_only=True)
class EncoderState:
    """The state of B streams, each of its own age; the batch is axis 0 everywhere."""

    GROWING: ClassVar[frozenset[str]] = frozenset({"left_keys", "left_values"})

    context: ContextSpec
    frames_seen: Tensor  # (B,) int64
    finished: Tensor  # (B,) bool: the last samples have been given
    statistics: WaveformStatistics  # of the samples of the chunks done
    pending: Tensor  # (B, chunk_samples - 1) float32: samples waiting for their chunk to fill
    pending_samples: Tensor  # (B,) int64
    past_frames: Tensor  # (B, P, D) before the positional convolution, zeros before the start
    sink_keys: Tensor  # (B, L, H, S, D / H)
    sink_values: Tensor
    left_keys: Tensor  # (B, L, H, W, D / H)
    left_values: Tensor


class Cache(NamedTuple):
    """Keys and values of some frames in all layers, (B, L, H, frames, D / H) each."""

    keys: Tensor
    values: Tensor


def chunk_samples(chunk_frames: int) -> int:
    """Samples that the frames of one chunk see."""
    return chunk_frames * HOP_SAMPLES + OVERLAP_SAMPLES


def initial_state(
    batch: int,
    context: ContextSpec,
    shape: Architecture,
    device: torch.device | str,
    dtype: torch.dtype,
) -> EncoderState:
    """The state before the first sample.

    Raises:
        ValueError: for batch < 0, or full context.
    """
    if batch < 0:
        raise ValueError(f"batch must be >= 0, got {batch}")
    if context.chunk_frames is None:
        raise ValueError("a stream needs chunk_frames, got full context (chunk_frames null)")
    unbounded = context.left_chunks is None
    sinks = 0 if unbounded else context.sink_frames  # all of the past is visible anyway
    left = 0 if context.left_chunks is None else context.left_chunks * context.chunk_frames

    def cache(frames: int) -> Tensor:
        head_dim = shape.dim // shape.heads
        return torch.zeros(
            batch, shape.layers, shape.heads, frames, head_dim, device=device, dtype=dtype
        )

    zeros = torch.zeros(batch, dtype=torch.long, device=device)
    return EncoderState(
        context=context,
        frames_seen=zeros,
        finished=zeros.bool(),
        statistics=initial_statistics(batch, device),
        pending=torch.zeros(batch, chunk_samples(context.chunk_frames) - 1, device=device),
        pending_samples=zeros,
        past_frames=torch.zeros(
            batch, shape.position_kernel // 2, shape.dim, device=device, dtype=dtype
        ),
        sink_keys=cache(sinks),
        sink_values=cache(sinks),
        left_keys=cache(left),
        left_values=cache(left),
    )


def stream_mask(state: EncoderState, frames: Tensor, max_frames: int) -> Tensor | None:
    """What the frames of a chunk may attend to among [sinks | left context | chunk].

    Args:
        state: before the chunk.
        frames: (B,) frames of the chunk that exist, >= 1.
        max_frames: Q, with padding.

    Returns:
        (B, 1, Q, S + W + Q) bool, True = may attend, or None when everything may.
    """
    sinks, left = state.sink_keys.shape[3], state.left_keys.shape[3]
    if int(state.frames_seen.min()) >= sinks + left and int(frames.min()) == max_frames:
        return None  # as in every chunk but a stream's first and last ones
    device, seen = state.frames_seen.device, state.frames_seen[:, None]  # (B, 1)
    sink_numbers = torch.arange(sinks, device=device).expand(len(seen), -1)
    left_numbers = seen + torch.arange(-left, 0, device=device)
    chunk_numbers = seen + torch.arange(max_frames, device=device)
    exists = torch.cat(
        [
            sink_numbers < seen,
            left_numbers >= sinks,  # a frame that is a sink is seen as one, once
            padding_mask(frames, max_frames),
        ],
        dim=1,
    )
    keys = torch.cat([sink_numbers, left_numbers, chunk_numbers], dim=1)
    mask = context_mask(chunk_numbers, keys, state.context) & exists[:, None]
    return mask[:, None]


def extended(state: EncoderState, new: Cache, frames: Tensor) -> EncoderState:
    """The state with the keys and values of a chunk in its caches.

    Args:
        new: (B, L, H, Q, D / H) each.
        frames: (B,) frames of the chunk that exist.
    """
    seen, left = state.frames_seen, state.left_keys.shape[3]
    if state.context.left_chunks is None:
        # What a younger stream was padded with beside an older one goes again.
        left = int((seen + frames).max())
    return replace(
        state,
        sink_keys=_with_sinks(state.sink_keys, new.keys, seen, frames),
        sink_values=_with_sinks(state.sink_values, new.values, seen, frames),
        left_keys=_newest(left, state.left_keys, new.keys),
        left_values=_newest(left, state.left_values, new.values),
    )


def _newest(count: int, left: Tensor, new: Tensor) -> Tensor:
    """The last `count` frames: (B, L, H, W, d) and (B, L, H, Q, d) -> (B, L, H, count, d)."""
    longer = torch.cat([left, new], dim=3)
    return longer[:, :, :, longer.shape[3] - count :]


def _with_sinks(sink: Tensor, new: Tensor, seen: Tensor, frames: Tensor) -> Tensor:
    """The sinks (B, L, H, S, d), with those among the `new` frames (B, L, H, Q, d) filled in."""
    if int(seen.min()) >= sink.shape[3]:
        return sink
    places = torch.arange(sink.shape[3], device=sink.device) - seen[:, None]  # (B, S) in `new`
    arrives = (places >= 0) & (places < frames[:, None])
    index = places.clamp(0, new.shape[3] - 1)[:, None, None, :, None]  # (B, 1, 1, S, 1)
    return torch.where(arrives[:, None, None, :, None], new.take_along_dim(index, dim=3), sink)
