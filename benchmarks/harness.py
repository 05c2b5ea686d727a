"""Measuring side by side: all contestants in turn, many times, medians, ratios."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HEAD = ("name", "ratio", "goal", "unit", "ours", "peer", "note")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One comparison: `ratio` is held against `goal`, `<=1.3` or `>=5`, if there is one."""

    name: str
    ratio: float
    goal: str
    unit: str  # of the two numbers that follow
    ours: float
    peer: float
    note: str

    @property
    def is_met(self) -> bool:
        """Whether the ratio reaches the goal."""
        if not self.goal:
            return True
        bound = float(self.goal[2:])
        return self.ratio <= bound if self.goal.startswith("<=") else self.ratio >= bound

    def cells(self) -> list[str]:
        """In the order of `HEAD`."""
        numbers = (f"{value:.4g}" for value in (self.ours, self.peer))
        return [self.name, f"{self.ratio:.2f}", self.goal, self.unit, *numbers, self.note]


def medians(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each: one warm-up, then `rounds` rounds in which each runs once."""
    for function in contestants.values():
        function()
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            gc.collect()
            begin = time.perf_counter()
            function()
            found[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def table(rows: Sequence[Row]) -> str:
    """Markdown; a goal that is missed is said."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        cells = row.cells()
        cells[2] += "" if row.is_met else " (missed)"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
