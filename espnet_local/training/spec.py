"""Options of training that are ours and not ESPnet's: the section `recipe` of a size's config."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStartSpec:
    """How long the front end learns log-mel frames."""

    steps: int
    batch: int = 16  # crops of two seconds
    lr: float = 3e-3

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be >= 0, got {self.steps}")
        if self.batch < 1:
            raise ValueError(f"batch must be >= 1, got {self.batch}")
        if self.lr <= 0:
            raise ValueError(f"lr must be > 0, got {self.lr}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeSpec:
    """The section `recipe` of a size's config."""

    warm_start: WarmStartSpec = field(default_factory=lambda: WarmStartSpec(steps=0))
