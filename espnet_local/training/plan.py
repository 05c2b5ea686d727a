"""The plan of the sub-stages, read from `conf/stages.yaml`, and the parents they start from.

No torch here: a stage whose inputs are unchanged is recognised in a blink.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_local.cli import recipe_call
from espnet_local.config import BEST_CHECKPOINT, from_mapping, load_yaml, nearest
from espnet_local.contexts import ContextDraws, parse_contexts
from espnet_local.stamp import read_stamp

PRETRAINED = "pretrained"
BEST = "best"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubstageSpec:
    """One training run with one attention context or one set of contexts to draw from."""

    parent: str  # a sub-stage, `best` (of the stage before), or `pretrained`
    encoder_params: dict[str, Any] = field(default_factory=dict)  # the context
    epochs: int
    lr_scale: float = 1.0  # times the peak learning rate of the size's config
    warmup_share: float = 0.1  # of the updates, up to the peak; then down to zero

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be >= 1, got {self.epochs}")
        if not 0.0 < self.lr_scale < math.inf:
            raise ValueError(f"lr_scale must be > 0, got {self.lr_scale}")
        if not 0 < self.warmup_share < 1:
            raise ValueError(f"warmup_share must be in (0, 1), got {self.warmup_share}")
        parse_contexts(self.encoder_params)

    @property
    def contexts(self) -> ContextDraws:
        """The contexts of `encoder_params`."""
        return parse_contexts(self.encoder_params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All sub-stages by name, in the order of the file."""

    substages: dict[str, SubstageSpec]

    def __post_init__(self) -> None:
        for name, spec in self.substages.items():
            if not name[:1].isdigit() or not 1 <= int(name[0]) <= 5:
                raise ValueError(f"substages: a name must begin with its stage 1..5, got {name!r}")
            parent = spec.parent
            if parent in (PRETRAINED, BEST):
                if parent == BEST and not self.of_stage(stage_of(name) - 1):
                    raise ValueError(f"substages.{name}: no stage before it to take the best of")
                continue
            if parent not in self.substages:
                raise ValueError(
                    f"substages.{name}: unknown parent {parent!r}{nearest(parent, self.substages)}"
                )
            if stage_of(parent) >= stage_of(name):
                raise ValueError(f"substages.{name}: parent {parent!r} is not of an earlier stage")

    def of_stage(self, stage: int) -> list[str]:
        """Names of a stage's sub-stages."""
        return [name for name in self.substages if stage_of(name) == stage]

    def chosen(self, stage: int, only: str | None = None) -> list[str]:
        """Names of a stage's sub-stages, all or those among `only`, such as `2a,3b`.

        Raises:
            ValueError: for a stage that there is not, or an unknown name.
        """
        names = self.of_stage(stage)
        if not names:
            raise ValueError(f"stage must be 1..5 and have sub-stages, got {stage}")
        if only is None:
            return names
        wanted = only.split(",")
        for name in wanted:
            if name not in self.substages:
                raise ValueError(f"unknown sub-stage {name!r}{nearest(name, self.substages)}")
        return [name for name in wanted if stage_of(name) == stage]

    def candidates(self, substage: str) -> list[str]:
        """The sub-stages that must be finished before this one: one of them is the parent."""
        wanted = self.substages[substage].parent
        if wanted == BEST:
            return self.of_stage(stage_of(substage) - 1)
        return [] if wanted == PRETRAINED else [wanted]


def stage_of(substage: str) -> int:
    """`2b` -> 2."""
    return int(substage[0])


def load_plan(path: str | Path, overrides: str | Path | None = None) -> Plan:
    """Reads `conf/stages.yaml`, and over it a corpus's own file, key by key.

    Raises:
        ValueError: for a misspelt key, an unknown parent, a bad value, naming file and key.
    """
    mapping = load_yaml(path)
    if overrides is not None:
        mapping = merge(mapping, load_yaml(overrides))
    try:
        return from_mapping(Plan, mapping, "stages")
    except ValueError as error:
        files = str(path) if overrides is None else f"{path} with {overrides}"
        raise ValueError(f"{files}: {error}") from None


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, mapping by mapping; lists and scalars are replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """The finished sub-stage that another starts from."""

    name: str
    folder: Path
    fingerprint: str

    @property
    def checkpoint(self) -> Path:
        """Its best checkpoint."""
        return self.folder / BEST_CHECKPOINT


def check_parents(plan: Plan, substage: str, expdir: Path, coming: Container[str] = ()) -> None:
    """Checks that a sub-stage's parents are finished, or among those trained before it.

    Raises:
        ValueError: when one is not, saying how to train it.
    """
    missing = [
        name
        for name in plan.candidates(substage)
        if name not in coming and read_stamp(stage_dir(expdir, name)) is None
    ]
    if missing:
        stage = stage_of(missing[0])
        raise ValueError(
            f"sub-stage {substage} starts from {' and '.join(missing)}, not trained yet in "
            f"{expdir}; train stage {stage} first "
            f"({recipe_call()} --stage {stage} --stop_stage {stage})"
        )


def find_parent(plan: Plan, substage: str, expdir: Path) -> Parent | None:
    """The parent of a sub-stage, None for `pretrained`.

    Raises:
        ValueError: when the parent has not been trained, saying how to train it.
    """
    check_parents(plan, substage, expdir)
    finished = {n: read_stamp(stage_dir(expdir, n)) or {} for n in plan.candidates(substage)}
    if not finished:
        return None
    name = min(finished, key=lambda n: (finished[n]["valid_wer"], finished[n]["valid_loss"]))
    folder = stage_dir(expdir, name)
    if not (folder / BEST_CHECKPOINT).exists():
        raise ValueError(f"sub-stage {name} has no {folder / BEST_CHECKPOINT}; train it again")
    return Parent(name=name, folder=folder, fingerprint=finished[name]["fingerprint"])


def stage_dir(expdir: str | Path, substage: str) -> Path:
    """Where a sub-stage lives: `exp/<tag>/stage2b`."""
    return Path(expdir) / f"stage{substage}"
