"""Options of the transducer."""

from __future__ import annotations

from dataclasses import dataclass, field

from espnet_local.transducer.joiner import JoinerSpec
from espnet_local.transducer.losses import LossName


@dataclass(frozen=True, kw_only=True, slots=True)
class TransducerSpec:
    """The keys of `model_conf` in a config."""

    joiner: JoinerSpec = field(default_factory=JoinerSpec)
    ctc_weight: float = 0.3  # of the auxiliary CTC loss; 0: none
    loss: LossName = "auto"

    def __post_init__(self) -> None:
        if not 0.0 <= self.ctc_weight <= 1.0:
            raise ValueError(f"ctc_weight must be in [0, 1], got {self.ctc_weight}")
