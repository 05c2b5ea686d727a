"""Past-only normalisation of the waveform.

XLSR was trained on waveforms normalised to zero mean and unit variance over the utterance, which a
stream cannot know. Here each 20 ms block is normalised with the mean and variance of the blocks
before it, on a fixed grid, with a prior that stands in for the past at the start. Training and
streaming so see the same numbers. B batch, N samples, G blocks of the grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_local.config import HOP_SAMPLES

PRIOR_BLOCKS = 25  # the prior weighs as much as half a second of audio
PRIOR_VARIANCE = 0.05**2  # of speech at an ordinary level, for samples in [-1, 1]
VARIANCE_FLOOR = 1e-7  # -70 dB: digital silence stays silence


def normalise_waveform(samples: Tensor) -> Tensor:
    """Normalises every block of 320 samples with the statistics of the blocks before it.

    Sums run in float64, so that hours of audio lose no digits.

    Args:
        samples: (B, N) in [-1, 1], from the start of the stream; padding only at the end.

    Returns:
        (B, N) in the type of `samples`.
    """
    batch, count = samples.shape
    if count == 0:
        return samples
    blocks = F.pad(samples, (0, -count % HOP_SAMPLES)).view(batch, -1, HOP_SAMPLES)  # (B, G, 320)
    wide = blocks.double()
    sums = _past(wide.sum(-1))  # (B, G)
    squares = _past(wide.square().sum(-1))
    past = torch.arange(blocks.shape[1], device=samples.device, dtype=torch.float64)
    weight = (past + PRIOR_BLOCKS) * HOP_SAMPLES  # (G,) samples
    mean = sums / weight
    variance = (squares + PRIOR_BLOCKS * HOP_SAMPLES * PRIOR_VARIANCE) / weight - mean.square()
    scale = variance.clamp_min(VARIANCE_FLOOR).rsqrt()
    normal = (blocks - mean[..., None].to(samples.dtype)) * scale[..., None].to(samples.dtype)
    return normal.view(batch, -1)[:, :count]  # (B, G, 320) -> (B, N)


def _past(values: Tensor) -> Tensor:
    """Exclusive cumulative sum over the blocks: (B, G) -> (B, G)."""
    return F.pad(values.cumsum(-1)[:, :-1], (1, 0))
