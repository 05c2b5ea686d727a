"""The transformer block, apart into what a stream caches and what it computes.

torchaudio's `EncoderLayer` (pre-norm) holds the weights; its `forward` is not used, so
training and streaming call the same functions.

B batch, Q query frames, K key frames, D width, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor
from torchaudio.models.wav2vec2.components import EncoderLayer, SelfAttention


class Projected(NamedTuple):
    """Queries, keys and values of some frames, each (B, H, frames, D / H)."""

    queries: Tensor
    keys: Tensor
    values: Tensor


def project(layer: EncoderLayer, x: Tensor) -> Projected:
    """Normalises and projects the frames `x` (B, Q, D) for attention."""
    attention = layer.attention
    normal = layer.layer_norm(x)
    return Projected(
        _heads(attention, attention.q_proj(normal)),
        _heads(attention, attention.k_proj(normal)),
        _heads(attention, attention.v_proj(normal)),
    )


def attend(
    layer: EncoderLayer,
    x: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
) -> Tensor:
    """Attention, residual and feed-forward.

    Args:
        layer: the block's weights.
        x: (B, Q, D) the frames that `queries` were projected from.
        queries: (B, H, Q, D / H).
        keys, values: (B, H, K, D / H), in streaming the cached ones and the chunk's own.
        mask: (B or 1, 1, Q, K) bool, True = may attend; None: everything may.

    Returns:
        (B, Q, D).
    """
    attention = layer.attention
    dropout = attention.dropout if layer.training else 0.0
    y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
    y = y.transpose(1, 2).flatten(2)  # (B, H, Q, D / H) -> (B, Q, D)
    x = x + layer.dropout(attention.out_proj(y))
    return x + layer.feed_forward(layer.final_layer_norm(x))


def _heads(attention: SelfAttention, x: Tensor) -> Tensor:
    """(B, Q, D) -> (B, H, Q, D / H)."""
    return x.unflatten(2, (attention.num_heads, attention.head_dim)).transpose(1, 2)
