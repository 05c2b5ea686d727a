"""What a corpus hands to the writer: utterances, and the ones it had to leave out. N samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from espnet_local.config import SAMPLE_RATE

SETS = ("train", "dev", "test")
DEBUG_SIZES = {"train": 60, "dev": 12, "test": 12}  # utterances of a sliver


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedWord:
    """A word and where it lies in the utterance's audio, as a line of a CTM file says it."""

    word: str
    start_s: float
    duration_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One utterance: 16 kHz mono float32 samples in [-1, 1], shape (N,), and what is said."""

    id: str
    speaker: str
    samples: np.ndarray
    text: str
    words: tuple[TimedWord, ...] | None = None  # None: word times are not known

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """Something that was left out of a set, and why."""

    id: str
    reason: str


class LeftOut(ValueError):
    """Raised where something cannot be in a set; its message is the reason in excluded.tsv."""


Items: TypeAlias = "Iterator[Utterance | Exclusion]"
