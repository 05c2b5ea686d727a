"""Past-only normalisation of the waveform.

XLSR was trained on waveforms normalised to zero mean and unit variance over the utterance, which a
stream cannot know. Here each 20 ms block is normalised with the mean and variance of the blocks
before it, on a fixed grid, so that training and streaming see the same numbers. The past fades with
a time constant of some seconds: over hours, speakers and levels change. A prior that does not fade
stands in for the past at the start, and bounds the gain after a silence. B batch, N samples,
G blocks of the grid.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_local.config import HOP_SAMPLES

MEMORY_BLOCKS = 150  # a block counts 1/e as much 3 s later
PRIOR_BLOCKS = 25  # the prior weighs as much as half a second of audio
PRIOR_VARIANCE = 0.05**2  # of speech at an ordinary level, for samples in [-1, 1]
_DECAY = math.exp(-1 / MEMORY_BLOCKS)  # a block
_FULL_WEIGHT = _DECAY / (1 - _DECAY)  # of an endless past


class WaveformStatistics(NamedTuple):
    """What is known of a stream's past, faded sums over whole blocks. (B,) float64 each."""

    weight: Tensor  # blocks
    sums: Tensor  # of each block's mean
    squares: Tensor  # of each block's mean square


class NormalisedWaveform(NamedTuple):
    """Normalised samples, and the statistics of the past at their end."""

    samples: Tensor  # (B, N)
    statistics: WaveformStatistics


def initial_statistics(batch: int, device: torch.device | str) -> WaveformStatistics:
    """The statistics before the first sample."""
    zeros = torch.zeros(batch, dtype=torch.float64, device=device)
    return WaveformStatistics(zeros, zeros, zeros)


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
    means = wide.mean(-1)  # (B, G)
    values = torch.stack([torch.ones_like(means), means, wide.square().mean(-1)])
    weight, sums, squares = _faded_sums(torch.stack(before), values)  # (B, G + 1) each
    # The prior of the mean, zero, fades as the past fills up; that of the variance stays.
    mean = sums / (weight + PRIOR_BLOCKS * (1 - weight / _FULL_WEIGHT))
    spread = squares - sums.square() / weight.clamp_min(1e-9)
    variance = (spread + PRIOR_BLOCKS * PRIOR_VARIANCE) / (weight + PRIOR_BLOCKS)
    scale = variance.rsqrt()
    mean, scale = (value[:, :-1, None].to(samples.dtype) for value in (mean, scale))
    normal = (blocks - mean) * scale
    return NormalisedWaveform(
        normal.view(batch, -1)[:, :count],  # (B, G, 320) -> (B, N)
        WaveformStatistics(weight[:, whole], sums[:, whole], squares[:, whole]),
    )


def _faded_sums(start: Tensor, values: Tensor) -> Tensor:
    """s[0] = start, s[g + 1] = decay (s[g] + values[g]): (..., B), (..., B, G) -> (..., B, G + 1).

    In pieces of a time constant: within one, a cumulative sum of values that are blown up by the
    fading still to come; over all at once that would overflow.
    """
    powers = _DECAY ** torch.arange(MEMORY_BLOCKS + 1, dtype=values.dtype, device=values.device)
    sums = [start[..., None]]
    for piece in values.split(MEMORY_BLOCKS, dim=-1):
        count = piece.shape[-1]
        grown = (piece / powers[:count]).cumsum(-1)
        sums.append((sums[-1][..., -1:] + grown) * powers[1 : count + 1])
    return torch.cat(sums, dim=-1)
