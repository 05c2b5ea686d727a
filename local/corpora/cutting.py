"""Utterances cut from recordings: read, resampled to 16 kHz, in parallel. N samples.

Every corpus of files says its utterances as `Segment`s; this is the one place where their audio
is read. A piece of a file is read alone, so that memory does not grow with the recording.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from typing import NamedTuple

import numpy as np
import soxr

from espnet_local.audio import AudioFile, read_any_rate, split_offset
from espnet_local.cli import one_line
from espnet_local.config import SAMPLE_RATE
from local.corpora.utterance import DEBUG_SIZES, Exclusion, Items, TimedWord, Utterance
from local.corpora.workers import ordered_map

UTTERANCES_PER_TASK = 100
OVERSHOOT_S = 0.5  # a segment may end this much after its recording, as Kaldi and lhotse allow


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """An utterance that is yet to be read: a recording or a piece of one."""

    id: str
    speaker: str
    text: str
    audio: str  # <file>, or <archive>:<offset>, as in wav.scp
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end of the recording
    channel: int | None = None  # of the file, from 0; None: it must have one
    words: tuple[TimedWord, ...] | None = None  # times from the segment's start
    stated_s: float | None = None  # length of the recording, where its file must have it
    stated_rate: int | None = None  # Hz, likewise


class Listed(NamedTuple):
    """A set before its audio is read."""

    exclusions: list[Exclusion]
    segments: list[Segment]


def listed(items: Iterable[Segment | Exclusion], set_name: str, debug: bool) -> Listed:
    """Sorts items out; a debug run keeps some segments, spread over the set."""
    found = Listed([], [])
    for item in items:
        if isinstance(item, Segment):
            found.segments.append(item)
        else:
            found.exclusions.append(item)
    if debug:
        # Neighbours are of one speaker.
        count = min(DEBUG_SIZES[set_name], len(found.segments))
        found.segments[:] = [found.segments[i * len(found.segments) // count] for i in range(count)]
    return found


class SegmentCorpus(ABC):
    """A corpus whose utterances are pieces of files."""

    @abstractmethod
    def listed(self, set_name: str) -> Listed:
        """What is excluded before audio is read, and the rest."""

    def size(self, set_name: str) -> int:
        """How many utterances and exclusions a set has."""
        exclusions, segments = self.listed(set_name)
        return len(exclusions) + len(segments)

    def items(self, set_name: str, nj: int) -> Items:
        """Utterances and exclusions of a set."""
        exclusions, segments = self.listed(set_name)
        yield from exclusions
        yield from read_all(segments, nj)


def read_all(segments: Sequence[Segment], nj: int) -> Items:
    """Reads segments in `nj` processes, by recording; the same for every `nj`."""
    by_recording = sorted(segments, key=lambda s: (s.audio, s.channel or 0, s.start_s))
    return ordered_map(read_segments, _tasks(by_recording), nj)


def _tasks(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Batches; those of one archived recording stay together, since it is read as a whole."""
    tasks: list[list[Segment]] = []
    for segment in segments:
        full = not tasks or len(tasks[-1]) >= UTTERANCES_PER_TASK
        if full and not (tasks and segment.audio == tasks[-1][-1].audio and _archived(segment)):
            tasks.append([])
        tasks[-1].append(segment)
    return tasks


def _archived(segment: Segment) -> bool:
    return split_offset(segment.audio)[1] is not None


def read_segments(segments: Sequence[Segment]) -> list[Utterance | Exclusion]:
    """Reads the audio of segments, cuts and resamples it; a bad one becomes an exclusion."""
    read: list[Utterance | Exclusion] = []
    for (audio, channel), group in groupby(segments, key=lambda s: (s.audio, s.channel)):
        of_recording = list(group)
        with ExitStack() as stack:
            try:
                recording = _open(audio, channel, of_recording, stack)
            except (ValueError, OSError) as error:
                reason = _reason(audio, error)
                read += [Exclusion(id=segment.id, reason=reason) for segment in of_recording]
            else:
                read += [_cut(segment, recording) for segment in of_recording]
    return read


class _Recording(NamedTuple):
    # From a sample to before another, None the end, (N,) float32.
    read: Callable[[int, int | None], np.ndarray]
    length_samples: int
    sample_rate: int  # Hz


def _open(audio: str, channel: int | None, segments: list[Segment], stack: ExitStack) -> _Recording:
    if all(_archived(s) or (s.start_s == 0 and s.end_s is None) for s in segments):
        samples, sample_rate = read_any_rate(audio, channel)
        return _Recording(lambda start, stop: samples[start:stop], len(samples), sample_rate)
    stream = stack.enter_context(closing(AudioFile(audio, channel)))
    return _Recording(stream.read, stream.length_samples, stream.sample_rate)


def _reason(audio: str, error: ValueError | OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such file {split_offset(audio)[0]}"
    if isinstance(error, IsADirectoryError):
        return f"a folder, not a file: {split_offset(audio)[0]}"
    return one_line(error)


def _cut(segment: Segment, recording: _Recording) -> Utterance | Exclusion:
    sample_rate = recording.sample_rate
    reason = _reason_against(segment, recording.length_samples / sample_rate, sample_rate)
    if not reason:
        stop = None if segment.end_s is None else round(segment.end_s * sample_rate)
        try:
            samples = recording.read(round(segment.start_s * sample_rate), stop)
        except ValueError as error:
            reason = one_line(error)
    if reason:
        return Exclusion(id=segment.id, reason=reason)
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return Utterance(
        id=segment.id,
        speaker=segment.speaker,
        samples=samples,
        text=segment.text,
        words=segment.words,
    )


def _reason_against(segment: Segment, length_s: float, sample_rate: int) -> str | None:
    """Why a segment cannot be cut from a recording of a length, or None when it can."""
    start_s, end_s = segment.start_s, length_s if segment.end_s is None else segment.end_s
    stated_s, stated_rate = segment.stated_s, segment.stated_rate
    if not (isfinite(start_s) and isfinite(end_s)):
        return f"segment's times must be numbers, got {start_s} and {end_s}"
    if start_s < 0:
        return f"segment starts at {start_s} s, before its recording"
    if stated_rate is not None and sample_rate != stated_rate:
        return f"recording has {sample_rate} Hz, its manifest says {stated_rate} Hz"
    if stated_s is not None and not abs(length_s - stated_s) <= OVERSHOOT_S:
        return f"recording lasts {length_s:.2f} s, its manifest says {stated_s:.2f} s"
    if end_s > length_s + OVERSHOOT_S:
        return f"segment ends at {end_s} s, its recording at {length_s:.2f} s"
    if start_s >= length_s:
        return f"segment starts at {start_s} s, its recording ends at {length_s:.2f} s"
    if end_s <= start_s:
        return f"segment ends at {end_s} s, starts at {start_s} s"
    return None
