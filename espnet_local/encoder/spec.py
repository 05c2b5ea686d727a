"""Sizes and options of the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES
from espnet_local.contexts import ContextDraws


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """The shape of a wav2vec 2.0 model with a layer-norm extractor and pre-norm layers."""

    conv_layers: tuple[tuple[int, int, int], ...]  # (channels, kernel, stride)
    dim: int
    layers: int
    heads: int
    feed_forward_dim: int
    position_kernel: int  # frames
    position_groups: int

    def __post_init__(self) -> None:
        hop, receptive = 1, 1
        for _, kernel, stride in self.conv_layers:
            receptive += (kernel - 1) * hop
            hop *= stride
        if (hop, receptive) != (HOP_SAMPLES, RECEPTIVE_SAMPLES):
            raise ValueError(
                f"conv_layers must have hop {HOP_SAMPLES} and receptive field "
                f"{RECEPTIVE_SAMPLES} samples, got {hop} and {receptive}"
            )
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads={self.heads}, got {self.dim}")


def _conv_layers(*channels: int) -> tuple[tuple[int, int, int], ...]:
    kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    return tuple(zip(channels, kernels, strides))


def _xlsr(dim: int, layers: int) -> Architecture:
    return Architecture(
        conv_layers=_conv_layers(*[512] * 7),
        dim=dim,
        layers=layers,
        heads=16,
        feed_forward_dim=4 * dim,
        position_kernel=128,
        position_groups=16,
    )


ARCHITECTURES: dict[str, Architecture] = {
    # 1.1 M parameters, 1.2 M with predictor and joiner: trains on two CPU cores in minutes.
    "tiny": Architecture(
        conv_layers=_conv_layers(32, 32, 64, 64, 64, 64, 64),
        dim=144,
        layers=4,
        heads=4,
        feed_forward_dim=576,
        position_kernel=32,
        position_groups=16,
    ),
    # 315 M parameters: XLSR-53 (Conneau et al. 2020) and XLS-R 300 M (Babu et al. 2021).
    "xlsr_300m": _xlsr(dim=1024, layers=24),
    # 962 M and 2.2 G parameters: XLS-R 1 B and 2 B.
    "xlsr_1b": _xlsr(dim=1280, layers=48),
    "xlsr_2b": _xlsr(dim=1920, layers=48),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureMaskSpec:
    """Spans hidden from the encoder while fine-tuning (wav2vec 2.0, appendix B; SpecAugment)."""

    time_probability: float = 0.0  # share of frames that start inside or are covered by a span
    time_frames: int = 10  # length of a span; 10 frames = 200 ms
    channel_probability: float = 0.0  # share of channels covered
    channel_width: int = 16  # channels in a span

    def __post_init__(self) -> None:
        for name in ("time_probability", "channel_probability"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("time_frames", "channel_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSpec:
    """Everything the encoder is built from; the keys of `encoder_conf` in a config."""

    size: Literal["tiny", "xlsr_300m", "xlsr_1b", "xlsr_2b"]
    pretrained: str | None = None  # what it starts from, see `pretrained.sources`
    contexts: ContextDraws = field(default_factory=ContextDraws)
    dropout: float = 0.0  # after projections and in feed-forward layers
    attention_dropout: float = 0.0
    layer_drop: float = 0.0  # probability that a layer is skipped in a batch
    feature_mask: FeatureMaskSpec = field(default_factory=FeatureMaskSpec)
    freeze_frontend: bool = False  # the convolutions keep their weights, as in wav2vec 2.0
    thaw_after_batches: int = 0  # the transformer keeps its weights for so many batches
    lr_scale: float = 1.0  # times the learning rate of predictor, joiner and CTC
    # A layer's activations are computed again for its gradient instead of kept: a third more time,
    # a tenth of the memory.
    gradient_checkpointing: bool = False
    seed: int = 0  # of the context draws

    def __post_init__(self) -> None:
        for name in ("dropout", "attention_dropout", "layer_drop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0.0 < self.lr_scale < math.inf:
            raise ValueError(f"lr_scale must be > 0 and finite, got {self.lr_scale}")
        if self.thaw_after_batches < 0:
            raise ValueError(f"thaw_after_batches must be >= 0, got {self.thaw_after_batches}")

    @property
    def architecture(self) -> Architecture:
        """The shape that `size` names."""
        return ARCHITECTURES[self.size]
