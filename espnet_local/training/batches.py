"""The batches of a corpus, and those worth looking at before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet_local.config import HOP_SAMPLES, SAMPLE_RATE
from espnet_local.files import read_table


class Batch(NamedTuple):
    """Utterances of one batch."""

    keys: tuple[str, ...]
    seconds: float  # padded audio
    lattice: int  # nodes of the transducer's lattice: frames x (tokens + 1), padded
    tokens: int  # of the longest transcript


class Lengths:
    """Samples and tokens of every utterance that is trained or validated on."""

    def __init__(self, data: Path, tokens: Path) -> None:
        self.samples: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        for name in ("train", "dev"):
            shapes = read_table(tokens / f"{name}_text_shape")
            self._tokens |= {utt: int(shape.split(",")[0]) for utt, shape in shapes.items()}
            samples = read_table(data / name / "utt2num_samples")
            self.samples |= {utt: int(samples[utt]) for utt in shapes}

    def batch(self, keys: Sequence[str]) -> Batch:
        """The batch of these utterances."""
        samples = max(self.samples[key] for key in keys)
        tokens = max(self._tokens[key] for key in keys)
        return Batch(
            keys=tuple(keys),
            seconds=len(keys) * samples / SAMPLE_RATE,
            lattice=len(keys) * (samples // HOP_SAMPLES) * (tokens + 1),
            tokens=tokens,
        )


def largest(batches: Sequence[Batch]) -> list[Batch]:
    """Those that may take the most memory: by audio, by lattice, and by attention's mask."""
    measures: tuple[Callable[[Batch], float], ...] = (
        lambda batch: batch.seconds,
        lambda batch: batch.lattice,
        lambda batch: batch.seconds**2 / len(batch.keys),
    )
    return list(dict.fromkeys(max(batches, key=measure) for measure in measures))


def spread(batches: Sequence[Batch], count: int) -> list[Batch]:
    """So many batches, evenly over the sorted lengths."""
    ordered = sorted(batches, key=lambda batch: batch.seconds)
    places = (np.arange(count) + 0.5) / count * len(ordered)
    return [ordered[int(place)] for place in places]
