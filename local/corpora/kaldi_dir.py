"""A user's own Kaldi data directories: <folder>/{train,dev,test}. N samples.

    wav.scp    <recording> <file>, or <archive>:<offset>; relative names start at the working
               directory, as in Kaldi; pipes are not run
    segments   <utterance> <recording> <start s> <end s>; optional: without it, a recording is
               an utterance
    text       <utterance> <words>
    utt2spk    <utterance> <speaker>

Audio of any rate becomes 16 kHz; what cannot be used is listed in excluded.tsv.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import soxr

from espnet_local.audio import Audio, read_any_rate, split_offset
from espnet_local.cli import one_line
from espnet_local.config import SAMPLE_RATE
from espnet_local.files import fingerprint, read_table
from local.corpora.utterance import SETS, Exclusion, Items, Utterance
from local.corpora.workers import ordered_map

VERSION = 1  # raise it when the result changes with unchanged input
DEBUG_SIZES = {"train": 60, "dev": 12, "test": 12}
UTTERANCES_PER_TASK = 100
OVERSHOOT_S = 0.5  # a segment may end this much after its recording, as Kaldi allows


class Segment(NamedTuple):
    """A piece of a recording: one utterance."""

    utterance: str
    recording: str
    start_s: float
    end_s: float | None  # None: to the end of the recording


class Line(NamedTuple):
    """An utterance that is yet to be read."""

    segment: Segment
    value: str  # of the recording in wav.scp
    speaker: str
    text: str


@dataclass(frozen=True, kw_only=True)
class KaldiCorpus:
    """The data directories with their options.

    Raises:
        FileNotFoundError: when a set or one of its tables is missing.
        ValueError: for an ill-formed table, or a pipe in wav.scp.
    """

    folder: Path
    debug: bool = False

    def __post_init__(self) -> None:
        for set_name in SETS:
            for recording, value in self._tables[set_name]["wav.scp"].items():
                if "|" in (value[:1], value[-1:]):
                    raise ValueError(
                        f"{self.folder / set_name}/wav.scp: {recording}: pipes are not run, "
                        "write the audio to files first"
                    )

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on, for a fingerprint: tables by content, audio by date."""
        tables, dates = [], {}
        for set_name in SETS:
            folder = self.folder / set_name
            names = ("wav.scp", "segments", "text", "utt2spk")
            tables += [folder / name for name in names if (folder / name).exists()]
            for value in self._tables[set_name]["wav.scp"].values():
                path = split_offset(value)[0]
                if str(path) not in dates and path.exists():
                    status = path.stat()
                    dates[str(path)] = [status.st_size, status.st_mtime_ns]
        return {
            "corpus": f"kaldi:{self.folder}",
            "version": VERSION,
            "debug": self.debug,
            "source": fingerprint([[str(path) for path in tables], dates], tables),
        }

    def size(self, set_name: str) -> int:
        """How many utterances and exclusions a set has."""
        return sum(len(part) for part in self._lines(set_name))

    def items(self, set_name: str, nj: int) -> Items:
        """Utterances and exclusions of a set."""
        exclusions, lines = self._lines(set_name)
        yield from exclusions
        yield from ordered_map(read_lines, _tasks(lines), nj)

    @cached_property
    def _tables(self) -> dict[str, dict[str, dict[str, str]]]:
        return {
            set_name: {
                name: read_table(self.folder / set_name / name)
                for name in ("wav.scp", "text", "utt2spk")
            }
            for set_name in SETS
        }

    def _lines(self, set_name: str) -> tuple[list[Exclusion], list[Line]]:
        """What tables already exclude, and the rest, by recording."""
        tables = self._tables[set_name]
        scp, texts, speakers = tables["wav.scp"], tables["text"], tables["utt2spk"]
        segments = _segments(self.folder / set_name, scp)
        exclusions = [
            Exclusion(id=utterance, reason="transcript without audio")
            for utterance in texts.keys() - segments.keys()
        ]
        lines = []
        for utterance, segment in sorted(segments.items()):
            reason = None
            if utterance not in texts:
                reason = "audio without transcript"
            elif not texts[utterance]:
                reason = "empty transcript"
            elif not speakers.get(utterance):
                reason = "no speaker in utt2spk"
            elif segment.recording not in scp:
                reason = f"no recording {segment.recording} in wav.scp"
            if reason:
                exclusions.append(Exclusion(id=utterance, reason=reason))
            else:
                lines.append(
                    Line(segment, scp[segment.recording], speakers[utterance], texts[utterance])
                )
        if self.debug:
            # Spread over the set: neighbours are of one speaker.
            step = max(1, len(lines) // DEBUG_SIZES[set_name])
            lines = lines[::step][: DEBUG_SIZES[set_name]]
        return exclusions, sorted(lines, key=lambda line: line.segment[1:3])


def _segments(folder: Path, scp: dict[str, str]) -> dict[str, Segment]:
    path = folder / "segments"
    if not path.exists():
        return {name: Segment(name, name, 0.0, None) for name in scp}
    segments = {}
    for utterance, value in read_table(path).items():
        fields = value.split()
        try:
            recording, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
        except (IndexError, ValueError):
            raise ValueError(
                f"{path}: {utterance}: must be <recording> <start s> <end s>, got {value!r}"
            ) from None
        # Kaldi writes -1 for the end of the recording.
        segments[utterance] = Segment(utterance, recording, start_s, None if end_s == -1 else end_s)
    return segments


def _tasks(lines: Sequence[Line]) -> list[list[Line]]:
    """Batches of lines; those of one recording stay together, so that it is read once."""
    tasks: list[list[Line]] = []
    for line in lines:
        begins = not tasks or (
            len(tasks[-1]) >= UTTERANCES_PER_TASK
            and tasks[-1][-1].segment.recording != line.segment.recording
        )
        if begins:
            tasks.append([])
        tasks[-1].append(line)
    return tasks


def read_lines(lines: Sequence[Line]) -> list[Utterance | Exclusion]:
    """Reads the audio of lines, cuts and resamples it."""
    return list(_read_lines(lines))


def _read_lines(lines: Sequence[Line]) -> Iterator[Utterance | Exclusion]:
    value: str | None = None
    audio: Audio | str = ""  # a string says why there is none
    for line in lines:
        if line.value != value:
            value, audio = line.value, _read(line.value)
        if isinstance(audio, str):
            yield Exclusion(id=line.segment.utterance, reason=audio)
        else:
            yield _cut(line, audio)


def _read(value: str) -> Audio | str:
    try:
        return read_any_rate(value)
    except FileNotFoundError:
        return f"no such file {split_offset(value)[0]}"
    except IsADirectoryError:
        return f"a folder, not a file: {split_offset(value)[0]}"
    except (ValueError, OSError) as error:
        return one_line(error)


def _cut(line: Line, audio: Audio) -> Utterance | Exclusion:
    segment, rate = line.segment, audio.sample_rate
    length_s = len(audio.samples) / rate
    end_s = length_s if segment.end_s is None else segment.end_s
    reason = None
    if segment.start_s < 0:
        reason = f"segment starts at {segment.start_s} s, before its recording"
    elif end_s <= segment.start_s:
        reason = f"segment ends at {end_s} s, starts at {segment.start_s} s"
    elif end_s > length_s + OVERSHOOT_S:
        reason = f"segment ends at {end_s} s, its recording at {length_s:.2f} s"
    if reason:
        return Exclusion(id=segment.utterance, reason=reason)
    samples = audio.samples[round(segment.start_s * rate) : round(end_s * rate)]
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return Utterance(id=segment.utterance, speaker=line.speaker, samples=samples, text=line.text)
