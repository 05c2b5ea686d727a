"""Chunk masks: which frame may attend to which, as pure functions of absolute frame numbers.

Frame q may attend to frame k when

    k // C <= q // C  and  (k // C >= q // C - left_chunks  or  k < sink_frames)

with C = `chunk_frames`. One function serves training, masked decoding, streaming and plots.
Chunked attention: Chen et al. 2021 (arXiv 2010.11395); attention sinks: Xiao et al. 2023
(arXiv 2309.17453). Q query frames, K key frames, ... any axes; True = may attend.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espnet_local.config import ContextSpec


def context_mask(queries: Tensor, keys: Tensor, context: ContextSpec) -> Tensor:
    """The attention mask between frames given by their numbers in the stream.

    With 9 frames, chunks of 2 frames, 1 left chunk and 1 sink frame (rows q, columns k):

        11.......
        11.......
        1111.....
        1111.....
        1.1111...
        1.1111...
        1...1111.
        1...1111.
        1.....111

    Args:
        queries: (..., Q) absolute numbers of the query frames.
        keys: (..., K) absolute numbers of the key frames.
        context: what may be seen.

    Returns:
        (..., Q, K) bool, True where the query frame may attend to the key frame.
    """
    queries, keys = queries[..., :, None], keys[..., None, :]  # (..., Q, 1), (..., 1, K)
    if context.chunk_frames is None:
        return torch.ones_like(queries * keys, dtype=torch.bool)
    query_chunks = queries // context.chunk_frames
    key_chunks = keys // context.chunk_frames
    past = key_chunks <= query_chunks
    if context.left_chunks is None:
        return past
    near = key_chunks >= query_chunks - context.left_chunks
    return past & (near | (keys < context.sink_frames))


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    """Marks the frames that exist: (B,) lengths -> (B, max_length) bool, True = a real frame."""
    return torch.arange(max_length, device=lengths.device)[None, :] < lengths[:, None]


def attention_mask(lengths: Tensor, max_length: int, context: ContextSpec) -> Tensor | None:
    """The mask of a padded batch under a context.

    Args:
        lengths: (B,) frames of each utterance.
        max_length: T, the padded length.
        context: what may be seen.

    Returns:
        (B, 1, T, T) bool, True = may attend, or None when everything may.
        Rows of padded queries see what their position may see: no row is empty.
    """
    real = padding_mask(lengths, max_length)  # (B, T)
    if context.chunk_frames is None:
        if bool(real.all()):
            return None
        # A row of an empty utterance must not be empty: softmax of nothing is NaN.
        keys = real | (lengths == 0)[:, None]
        return keys[:, None, None, :].expand(-1, 1, max_length, -1)
    frames = torch.arange(max_length, device=lengths.device)
    seen = context_mask(frames, frames, context)  # (T, T)
    if bool(real.all()):
        return seen[None, None].expand(len(lengths), 1, -1, -1)
    # Padded queries keep their own frame: their rows would else be empty, and NaN gradients
    # would reach the weights although the rows themselves are thrown away.
    own = torch.eye(max_length, dtype=torch.bool, device=lengths.device)
    return (seen[None] & (real[:, None, :] | own[None]))[:, None]
