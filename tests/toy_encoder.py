"""An encoder of random weights that attends, and noise for it."""

from __future__ import annotations

from typing import Any

import torch

from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder


def make_encoder(**options: Any) -> StreamingEncoder:
    """Of size `tiny`; `options` are those of `EncoderSpec`."""
    torch.manual_seed(0)
    encoder = StreamingEncoder(EncoderSpec(size="tiny", **options)).eval()
    # Larger weights than at the start of training: an untrained model hardly attends.
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "attention" in name and name.endswith("weight"):
                parameter.mul_(4.0)
    return encoder


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Gaussian, of a standard deviation of 0.1."""
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
