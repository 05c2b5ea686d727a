"""The convolutional front end: 16 kHz samples to one frame every 20 ms.

torchaudio's `FeatureExtractor` holds the weights. Its layer norm works on frames, so nothing but
the kernels reaches across time: frame t sees samples [320 t, 320 t + 400). B batch, N samples,
T frames, C channels.
"""

from __future__ import annotations

from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor
from torchaudio.models.wav2vec2.components import ConvLayerBlock, FeatureExtractor

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES

Count = TypeVar("Count", int, Tensor)


def frame_count(samples: Count) -> Count:
    """Frames in so many samples: of a number, or elementwise (B,) -> (B,)."""
    frames = (samples - RECEPTIVE_SAMPLES) // HOP_SAMPLES + 1
    return frames.clamp_min(0) if isinstance(frames, Tensor) else max(0, frames)


def extract_features(extractor: FeatureExtractor, samples: Tensor) -> Tensor:
    """Runs the convolutions.

    Args:
        extractor: torchaudio's module with a layer norm in every block.
        samples: (B, N) normalised waveform.

    Returns:
        (B, T, C); T = 0 when the input is shorter than 400 samples.
    """
    if samples.shape[1] < RECEPTIVE_SAMPLES:
        last = extractor.conv_layers[-1].conv
        return last.weight.new_zeros(len(samples), 0, last.out_channels)
    samples = samples.to(extractor.conv_layers[0].conv.weight.dtype)
    if samples.is_cuda:
        return extractor(samples, None)[0]
    x = samples[:, :, None]  # (B, N, 1)
    for block in extractor.conv_layers:
        x = _conv_block(block, x)
    return x


def _conv_block(block: ConvLayerBlock, x: Tensor) -> Tensor:
    """Convolution, layer norm and GELU with channels last: (B, N, C) -> (B, T, C').

    On a CPU one matrix product over overlapping windows is faster than `conv1d` and spares the two
    transpositions around every layer norm (1.7x for `tiny`, forwards and backwards).
    """
    conv = block.conv
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    x = x.contiguous()
    batch, length, channels = x.shape
    windows = x.as_strided(
        (batch, (length - kernel) // stride + 1, kernel * channels),
        (length * channels, stride * channels, 1),
    )
    weight = conv.weight.transpose(1, 2).reshape(conv.out_channels, -1)  # (C', C, k) -> (C', k C)
    return F.gelu(
        block.layer_norm(F.linear(windows, weight, conv.bias).transpose(1, 2)).transpose(1, 2)
    )
