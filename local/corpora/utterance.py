"""What a corpus hands to the writer: utterances, and the ones it had to leave out. N samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from espnet_local.config import SAMPLE_RATE

SETS = ("train", "dev", "test")
MIN_DURATION_S = 0.1
MAX_DURATION_S = 30.0
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

    def line(self) -> str:
        """Its line in a TSV: id and reason, see `one_field`."""
        return f"{one_field(self.id)}\t{one_field(self.reason)}"


def one_field(text: str) -> str:
    r"""A text as a field of a TSV in UTF-8: tabs and ends of lines as `\t` and `\n`, and bytes of
    file names that are not UTF-8 as `\udce9`.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]", lambda c: repr(c[0])[1:-1], text)


class LeftOut(ValueError):
    """Raised where something cannot be in a set; its message is the reason in excluded.tsv."""


Items: TypeAlias = "Iterator[Utterance | Exclusion]"


def reason_against_duration(duration_s: float) -> str | None:
    """Why an utterance of this length cannot be in a set, or None when it can."""
    if duration_s < MIN_DURATION_S:
        return f"{duration_s:.3f} s, shorter than {MIN_DURATION_S} s"
    if duration_s > MAX_DURATION_S:
        return f"{duration_s:.1f} s, longer than {MAX_DURATION_S:.0f} s"
    return None


def kind_of_reason(reason: str) -> str:
    """What exclusions have in common: their reason without what tells utterances apart.

    That is paths, and words with a digit or a dot (names, lengths).
    """
    return re.sub(r"\S*/[^:]*|\S*[\d.]\S*", "", reason)
