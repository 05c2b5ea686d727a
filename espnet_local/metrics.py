"""Latency and cost of a stream, defined once. No torch here. Seconds, unless a name says ms or MB.

algorithmic latency   chunk + 5 ms: what the first sample of a chunk waits for, without computing
emission delay        time at which a word's last token stands in the result, to stay, minus the end
                      of the word in the audio; over the words recognised correctly. The clock is
                      the audio received: the end of the chunk that the token came with, or of the
                      stream. Computing is not in it; a real-time factor below one keeps it small.
first-word delay      the emission delay of each utterance's first word
finalisation delay    from the last sample given to the final result, by the wall clock
real-time factor      computing time / audio time, one stream at a time
peak memory           resident memory of the process at its largest while one stream at a time is
                      decoded, weights and libraries included
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES, SAMPLE_RATE, ContextSpec
from espnet_local.tokens import WORD_BOUNDARY, pieces_to_text

LOOK_AHEAD_MS = 1000 * (RECEPTIVE_SAMPLES - HOP_SAMPLES) // SAMPLE_RATE  # past the chunk's edge
PERCENTILES = (50, 90, 99)
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_DELETED = "\0"  # stands in alignments for the word that is not there; in no transcript


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word and when it was complete."""

    word: str
    seconds: float  # in a reference the end in the audio, in a hypothesis the emission


def algorithmic_latency_ms(context: ContextSpec) -> int | None:
    """In the worst case; None for full context, which waits for the end of the utterance."""
    return None if context.chunk_ms is None else context.chunk_ms + LOOK_AHEAD_MS


class EmissionTimes:
    """Watches the results of one stream grow, and tells when each token came to stay."""

    def __init__(self) -> None:
        self._tokens: tuple[str, ...] = ()
        self._since: tuple[float, ...] = ()

    def observe(self, received: float, tokens: Sequence[str]) -> None:
        """Takes in the tokens found so far, when `received` seconds of audio had been given."""
        same = 0
        for before, now in zip(self._tokens, tokens):
            if before != now:
                break
            same += 1
        self._since = self._since[:same] + (received,) * (len(tokens) - same)
        self._tokens = tuple(tokens)

    def seconds(self) -> tuple[float, ...]:
        """For each token of the last result, since when it stood there with all before it."""
        return self._since


def timed_words(pieces: Sequence[str], seconds: Sequence[float]) -> list[TimedWord]:
    """The words of a token sequence, each with the time of its last token.

    Raises:
        ValueError: when there is not one time a token.
    """
    if len(pieces) != len(seconds):
        raise ValueError(f"{len(pieces)} tokens must have as many times, got {len(seconds)}")
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(WORD_BOUNDARY)]
    words = []
    for start, stop in zip(starts, [*starts[1:], len(pieces)]):
        if word := pieces_to_text(pieces[start:stop]):
            words.append(TimedWord(word, seconds[stop - 1]))
    return words


def read_ctm(path: str | Path) -> dict[str, list[TimedWord]]:
    """Words and their ends by utterance: `<utterance> <channel> <start> <duration> <word> ...`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming file and line, for a line that is none of a CTM.
    """
    words: dict[str, list[TimedWord]] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if not line or line.startswith(";;"):
            continue
        try:
            utterance, _, start, duration, word = line.split()[:5]
            end = float(start) + float(duration)
        except ValueError:
            raise ValueError(f"{path}:{number}: not a line of a CTM: {line!r}") from None
        words.setdefault(utterance, []).append(TimedWord(word, end))
    return words


@dataclass(frozen=True, slots=True)
class Delays:
    """Emission delays of one utterance."""

    words: tuple[float, ...]  # of its correct words
    first: float | None  # of its first word, if that is correct


def emission_delays(reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord]) -> Delays:
    """Aligns both as for the word error rate, and compares the times of equal words."""
    spoken, found = [w.word for w in reference], [w.word for w in hypothesis]
    delays: list[float] = []
    first = None
    i = j = 0
    for left, right in kaldialign.align(spoken, found, _DELETED):
        if left == right:
            delay = hypothesis[j].seconds - reference[i].seconds
            delays.append(delay)
            if i == 0:
                first = delay
        i += left != _DELETED
        j += right != _DELETED
    return Delays(tuple(delays), first)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamCost:
    """What streaming some utterances one at a time took."""

    audio_seconds: float
    computing_seconds: float
    finalisation_seconds: tuple[float, ...]  # one an utterance
    peak_memory_mb: float

    @property
    def real_time_factor(self) -> float:
        """Computing time over audio time."""
        return self.computing_seconds / self.audio_seconds

    @classmethod
    def of_all(cls, costs: Sequence[StreamCost]) -> StreamCost:
        """Of several jobs: times add up, of the memories the largest counts."""
        return cls(
            audio_seconds=sum(cost.audio_seconds for cost in costs),
            computing_seconds=sum(cost.computing_seconds for cost in costs),
            finalisation_seconds=tuple(s for cost in costs for s in cost.finalisation_seconds),
            peak_memory_mb=max(cost.peak_memory_mb for cost in costs),
        )


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, ...] | None:
    """The 50th, 90th and 99th percentile in ms; None of nothing."""
    if not seconds:
        return None
    return tuple(1000 * float(p) for p in np.percentile(seconds, PERCENTILES))


def reset_peak_memory() -> None:
    """Lets `peak_memory_mb` count from now on, where the kernel can: on Linux.

    Free memory is given back first.
    """
    gc.collect()
    if _CLEAR.exists():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
        _CLEAR.write_text("5")


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, MB of 2^20 bytes."""
    if _STATUS.exists() and "VmHWM" in _STATUS.read_text():
        return _status_mb("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def resident_memory_mb() -> float:
    """The resident memory of this process now; Linux only.

    Raises:
        FileNotFoundError: elsewhere.
    """
    return _status_mb("VmRSS")


def _status_mb(name: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10
