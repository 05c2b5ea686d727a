"""Masking of spans of frames and channels while fine-tuning.

As in wav2vec 2.0 fine-tuning (Baevski et al. 2020, appendix B) and SpecAugment: masked frames are
replaced by a learnt vector, masked channels by zero. B batch, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from espnet_local.encoder.spec import FeatureMaskSpec


class FeatureMask(nn.Module):
    """Hides spans of the projected features; does nothing in evaluation.

    Args:
        spec: shares and lengths of the spans.
        dim: D.
    """

    def __init__(self, spec: FeatureMaskSpec, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = nn.Parameter(torch.zeros(dim))
        # Without masking the vector takes no part, which distributed training must know.
        self.embedding.requires_grad_(spec.time_probability > 0)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) features and (B,) frame counts -> (B, T, D)."""
        if not self.training or x.shape[1] == 0:
            return x
        spec = self.spec
        if spec.time_probability > 0:
            hidden = random_spans(lengths, x.shape[1], spec.time_probability, spec.time_frames)
            x = torch.where(hidden[:, :, None], self.embedding.to(x.dtype), x)
        if spec.channel_probability > 0:
            widths = torch.full_like(lengths, x.shape[2])
            hidden = random_spans(widths, x.shape[2], spec.channel_probability, spec.channel_width)
            x = x.masked_fill(hidden[:, None, :], 0.0)
        return x


def random_spans(lengths: Tensor, max_length: int, probability: float, span: int) -> Tensor:
    """Spans at random places that cover about `probability` of each row.

    Each position starts a span with a probability such that the expected covered share, overlaps
    counted once, is `probability`.

    Args:
        lengths: (B,) positions that may be covered.
        max_length: L, the width of the result.
        probability: share to cover, in [0, 1).
        span: length of a span.

    Returns:
        (B, L) bool, True = covered.
    """
    start_probability = 1.0 - (1.0 - probability) ** (1.0 / span)
    shape = (len(lengths), max_length)
    starts = torch.rand(shape, device=lengths.device) < start_probability
    # Covered: a start among the last `span` positions.
    counts = starts.int().cumsum(1)
    before = torch.nn.functional.pad(counts, (span, 0))[:, :max_length]
    covered = counts > before
    return covered & (torch.arange(max_length, device=lengths.device) < lengths[:, None])
