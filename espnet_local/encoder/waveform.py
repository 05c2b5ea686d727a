"""Past-only normalisation of the waveform.

XLSR was trained on waveforms normalised to zero mean and unit variance over the utterance, which a
stream cannot know. Here each 20 ms block is normalised with the mean and variance of the blocks
before it, on a fixed grid, with a prior that stands in for the past at the start. Training and
streaming so see the same numbers. B batch, N samples, G blocks of the grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_local.config import HOP_SAMPLES

PRIOR_BLOCKS = 25  # the prior weighs as much as half a second of audio
PRIOR_VARIANCE = 0.05**2  # of speech at an ordinary level, for samples in [-1, 1]
VARIANCE_FLOOR = 1e-7  # -70 dB: digital silence stays silence


class WaveformStatistics(NamedTuple):
    """What is known of a stream's past: sums over whole blocks. Batch on axis 0."""

    blocks: Tensor  # (B,) int64
    sums: Tensor  # (B,) float64: hours of audio lose no digits
    squares: Tensor  # (B,) float64


class NormalisedWaveform(NamedTuple):
    """Normalised samples, and the statistics of the past at their end."""

    samples: Tensor  # (B, N)
    statistics: WaveformStatistics


def initial_statistics(batch: int, device: torch.device | str) -> WaveformStatistics:
    """The statistics before the first sample."""
    zeros = torch.zeros(batch, dtype=torch.float64, device=device)
    return WaveformStatistics(zeros.long(), zeros, zeros)


def normalise_waveform(
    samples: Tensor, statistics: WaveformStatistics | None = None
) -> NormalisedWaveform:
    """Normalises every block of 320 samples with the statistics of the blocks before it.

    Args:
        samples: (B, N) in [-1, 1], from the start of a block on; padding only at the end.
        statistics: of what came before; None at the start of the stream.

    Returns:
        (B, N) in the type of `samples`, and the statistics with the whole blocks of `samples`.
    """
    batch, count = samples.shape
    before = statistics or initial_statistics(batch, samples.device)
    whole = count // HOP_SAMPLES
    blocks = F.pad(samples, (0, -count % HOP_SAMPLES)).view(batch, -1, HOP_SAMPLES)  # (B, G, 320)
    wide = blocks.double()
    sums = _running(before.sums, wide.sum(-1))  # (B, G + 1)
    squares = _running(before.squares, wide.square().sum(-1))
    past = torch.arange(blocks.shape[1], device=samples.device) + before.blocks[:, None]
    weight = (past + PRIOR_BLOCKS).double() * HOP_SAMPLES  # (B, G) samples
    mean = sums[:, :-1] / weight
    prior = PRIOR_BLOCKS * HOP_SAMPLES * PRIOR_VARIANCE
    variance = (squares[:, :-1] + prior) / weight - mean.square()
    scale = variance.clamp_min(VARIANCE_FLOOR).rsqrt()
    normal = (blocks - mean[..., None].to(samples.dtype)) * scale[..., None].to(samples.dtype)
    return NormalisedWaveform(
        normal.view(batch, -1)[:, :count],  # (B, G, 320) -> (B, N)
        WaveformStatistics(before.blocks + whole, sums[:, whole], squares[:, whole]),
    )


def _running(start: Tensor, values: Tensor) -> Tensor:
    """Sums up to and without each value, and the total: (B,), (B, G) -> (B, G + 1)."""
    return torch.cat([start[:, None], values], dim=1).cumsum(1)
