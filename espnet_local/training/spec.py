"""Options of training that are ours and not ESPnet's: the section `recipe` of a size's config."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStartSpec:
    """How an encoder with random weights is brought to where a transducer begins to learn."""

    log_mel_steps: int = 0  # the front end learns to predict log-mel frames
    ctc_steps: int = 0  # then the encoder learns CTC on short utterances
    log_mel_batch: int = 4  # crops of two seconds; many small steps beat few large ones here
    ctc_batch_seconds: float = 5.5  # padded audio
    ctc_longest_seconds: float = 4.0  # longer utterances wait for the transducer
    log_mel_lr: float = 3e-3
    ctc_lr: float = 2e-3

    def __post_init__(self) -> None:
        for name in ("log_mel_steps", "ctc_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in (
            "log_mel_batch", "ctc_batch_seconds", "ctc_longest_seconds", "log_mel_lr", "ctc_lr",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")

    @property
    def steps(self) -> int:
        """All steps; 0: no warm start."""
        return self.log_mel_steps + self.ctc_steps


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeSpec:
    """The section `recipe` of a size's config."""

    warm_start: WarmStartSpec = field(default_factory=WarmStartSpec)
