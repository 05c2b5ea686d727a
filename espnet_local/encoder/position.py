"""The convolutional positional embedding, bound to the chunk.

wav2vec 2.0 adds to every frame a convolution over 128 frames around it, 63 of them in the future:
1.26 s that no mask in the attention takes away. Under a chunked context the window ends at the edge
of the frame's own chunk and zeros stand for what is beyond. B batch, T frames, D width, M chunks.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torchaudio.models.wav2vec2.components import ConvolutionalPositionalEmbedding


def positional_embedding(
    module: ConvolutionalPositionalEmbedding, x: Tensor, chunk_frames: int | None
) -> Tensor:
    """The embedding to be added to `x`.

    Args:
        module: torchaudio's module, which holds the weights.
        x: (B, T, D) frames; padded frames are zero.
        chunk_frames: frames a chunk, or None for the symmetric convolution over the utterance.

    Returns:
        (B, T, D).
    """
    batch, frames, dim = x.shape
    if frames == 0:
        return x
    past = module.kernel_size // 2
    future = module.kernel_size - 1 - past
    if chunk_frames is None:
        return convolve(module, F.pad(x, (0, 0, past, future)))
    chunks = -(-frames // chunk_frames)
    padded = F.pad(x, (0, 0, past, chunks * chunk_frames - frames))
    windows = padded.unfold(1, past + chunk_frames, chunk_frames)  # (B, M, D, past + chunk)
    windows = windows.transpose(2, 3).flatten(0, 1)  # (B M, past + chunk, D)
    embedded = convolve(module, F.pad(windows, (0, 0, 0, future)))  # (B M, chunk, D)
    return embedded.reshape(batch, -1, dim)[:, :frames]


def convolve(module: ConvolutionalPositionalEmbedding, x: Tensor) -> Tensor:
    """The convolution without padding, and GELU: (B, T + kernel - 1, D) -> (B, T, D)."""
    conv = module.conv
    y = F.conv1d(x.transpose(1, 2), conv.weight, conv.bias, groups=conv.groups)  # (B, D, T)
    return F.gelu(y).transpose(1, 2)
