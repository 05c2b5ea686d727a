"""A histogram of the lengths of utterances, one line a set, told apart without colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from espnet_local.files import atomic_open
from local.corpus_statistics import BINS_PER_S, SetStatistics

MOST_BARS = 40
BAR_WIDTHS_S = (0.1, 0.25, 0.5, 1, 2, 5)
STYLES: tuple[dict[str, Any], ...] = (
    {"histtype": "stepfilled", "facecolor": "0.8", "edgecolor": "0.5"},
    {"histtype": "step", "edgecolor": "black", "linestyle": "--"},
    {"histtype": "step", "edgecolor": "black", "linestyle": "-", "linewidth": 1.5},
)


def draw_lengths(sets: Sequence[SetStatistics], path: Path) -> None:
    """Writes the picture (PNG), every set as shares of its own utterances."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    longest_s = (max(max(found.lengths) for found in sets) + 1) / BINS_PER_S
    width_s = next((w for w in BAR_WIDTHS_S if w * MOST_BARS >= longest_s), BAR_WIDTHS_S[-1])
    edges = [width_s * number for number in range(math.ceil(longest_s / width_s) + 1)]
    for found, style in zip(sets, STYLES):
        lengths_s = (np.array(list(found.lengths)) + 0.5) / BINS_PER_S
        shares = 100 * np.array(list(found.lengths.values())) / found.utterances
        axes.hist(
            lengths_s,
            bins=edges,
            weights=shares,
            label=f"{found.name}, {found.utterances} utterances",
            **style,
        )
    axes.set_xlim(0, edges[-1])
    axes.set_xlabel("length of utterance [s]")
    axes.set_ylabel("share of the set's utterances [%]")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_open(path, "wb") as stream:
        # Without the version of matplotlib in it, the same data gives the same file.
        figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
