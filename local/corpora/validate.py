"""Checks of the tables of a Kaldi data directory, a line of each in memory at a time.

Sorted tables are walked side by side. A table that is not sorted is reported and sorted on disk,
so that the other checks go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, zip_longest
from pathlib import Path
from typing import NamedTuple

from espnet_local.audio import split_offset
from espnet_local.files import iter_table, join_rows
from local.corpora.report import Report
from local.corpora.sorting import sorted_lines

Rows = Callable[..., Iterator[tuple[str, str]]]  # `_rows` of a table; takes who is told of it
TokenCounter = Callable[[Iterable["Transcript"]], Iterator[tuple["Transcript", "int | None"]]]


class Transcript(NamedTuple):
    """An utterance by its tables."""

    utterance: str
    text: str
    samples: int | None  # by utt2num_samples
    place: str  # the file in wav.scp; with segments, the recording with start and end


class Piece(NamedTuple):
    """An utterance within a recording."""

    utterance: str
    start_s: float
    end_s: float | None  # None: to the end of the recording
    samples: int | None  # by utt2num_samples
    tokens: int | None


class Recording(NamedTuple):
    """A line of wav.scp with its utterances."""

    name: str
    value: str
    pieces: list[Piece]


def validate(folder: Path, shown_as: Path | None = None) -> Report:
    """Checks the tables of a directory made here, and that the audio's files exist.

    Args:
        folder: the directory.
        shown_as: the name under which wav.scp speaks of it, when that is another.
    """
    report = Report(folder=folder)
    tables = open_tables(report, is_ours=True)
    for recording in recordings(report, tables, walk(report, tables)):
        path = split_offset(recording.value)[0]
        if shown_as is not None and path.is_relative_to(shown_as):
            path = folder / path.relative_to(shown_as)
        if not path.is_file():
            report.add("no audio", recording.name, f"{recording.name}: no such file {path}")
    return report


class Shared(NamedTuple):
    """Something of a directory that an earlier one has too."""

    number: int  # of the directory, from 0
    key: str  # the utterance, or the line of wav.scp
    message: str


def shared(folders: Sequence[Path]) -> Iterator[Shared]:
    """Ids of utterances, and audio of wav.scp, in more than one directory: a leak between sets.

    Tables that are missing are passed over, the order of their lines has no effect.
    """
    for table, by_value, what in (("text", False, "id"), ("wav.scp", True, "audio")):
        lines = sorted_lines(
            f"{value if by_value else key}\t{number:06d}\t{key}"
            for number, folder in enumerate(folders)
            if (folder / table).is_file()
            for _, key, value in iter_table(folder / table, complain=lambda error: None)
        )
        fields = (line.rsplit("\t", 2) for line in lines)
        for _, group in groupby(fields, key=lambda fields: fields[0]):
            (_, first, _), *others = group
            for _, number, key in others:
                if number != first:
                    message = f"{table}: {key}: its {what} is in {folders[int(first)]} too"
                    yield Shared(int(number), key, message)


def open_tables(report: Report, is_ours: bool = False) -> dict[str, Rows]:
    """The tables of a directory by name, each sorted and without duplicates when it is walked.

    Args:
        report: takes in what is wrong with them; names the directory.
        is_ours: spk2utt and utt2num_samples must be there too, as the writer makes them.

    Returns:
        No table when one is missing without which there is nothing to check.
    """
    tables: dict[str, Rows] = {}
    for name in ("wav.scp", "segments", "text", "utt2spk", "utt2num_samples", "spk2utt"):
        path = report.folder / name
        if path.is_file():
            tables[name] = partial(_rows, path, _is_sorted(report, path))
        elif name in ("wav.scp", "text", "utt2spk") or (is_ours and name != "segments"):
            report.add("missing table", "", f"{name} is missing")
        elif name == "spk2utt":
            report.add("no spk2utt", "", f"{name} is missing")
    if report.count("missing table"):
        return {}
    if "spk2utt" in tables:
        _check_inverse(report, tables["utt2spk"], tables["spk2utt"])
    return tables


def walk(report: Report, tables: dict[str, Rows]) -> Iterator[Transcript]:
    """The utterances of all tables, sorted; of each what its tables say, when it has audio."""
    if not tables:
        return
    first = "segments" if "segments" in tables else "wav.scp"
    names = [first, *(n for n in ("text", "utt2spk", "utt2num_samples") if n in tables)]
    count = 0
    for utterance, values in join_rows(*(tables[name](report) for name in names)):
        place, text, speaker, *lengths = values
        count += place is not None
        for name, value in zip(names[1:], values[1:]):
            if (value is None) != (place is None):
                has, lacks = (first, name) if value is None else (name, first)
                message = f"{utterance} is in {has}, not in {lacks}"
                report.add("different ids", utterance, message)
        if text == "":
            report.add("empty text", utterance, f"text: {utterance} is empty")
        if speaker == "":
            report.add("no speaker", utterance, f"utt2spk: {utterance} has no speaker")
        samples = _positive(report, utterance, lengths[0] if lengths else None)
        if place is not None:
            yield Transcript(utterance, text or "", samples, place)
    report.utterances = count
    if not count:
        report.add("no utterance", "", "no utterance")


def recordings(
    report: Report,
    tables: dict[str, Rows],
    transcripts: Iterable[Transcript],
    count: TokenCounter | None = None,
) -> Iterator[Recording]:
    """The recordings of utterances, sorted, each with all of its utterances.

    Args:
        report: takes in malformed segments, recordings that are missing or not used.
        tables: from `open_tables`.
        transcripts: from `walk`.
        count: gives each utterance its number of tokens.
    """
    counted = count(transcripts) if count else ((item, None) for item in transcripts)
    if "segments" not in tables:
        for item, tokens in counted:
            piece = Piece(item.utterance, 0.0, None, item.samples, tokens)
            yield Recording(item.utterance, item.place, [piece])
        return
    lines = sorted_lines(_segment_lines(report, counted))
    parts = (line.split("\t") for line in lines)
    groups = (
        (name, [_piece(fields) for fields in group])
        for name, group in groupby(parts, key=lambda fields: fields[0])
    )
    for name, (value, pieces) in join_rows(tables["wav.scp"](report), groups):
        if pieces is None:
            report.add("unused recording", name, f"wav.scp: no segment is of recording {name}")
        elif value is None:
            for piece in pieces:
                message = f"segments: {piece.utterance}: no recording {name} in wav.scp"
                report.add("different ids", piece.utterance, message)
        else:
            yield Recording(name, value, pieces)


def _segment_lines(
    report: Report, counted: Iterable[tuple[Transcript, int | None]]
) -> Iterator[str]:
    """Recording, utterance, start, end, samples and tokens, separated by tabs."""
    for item, tokens in counted:
        fields = item.place.split()
        try:
            recording, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
        except (IndexError, ValueError):
            message = "must be <recording> <start s> <end s>"
            _say_bad_segment(report, item.utterance, f"{message}, got {item.place!r}")
            continue
        if not 0 <= start_s < (math.inf if end_s == -1 else end_s):
            message = f"starts at {fields[1]} s, ends at {fields[2]} s"
            _say_bad_segment(report, item.utterance, message)
            continue
        optional = ("" if value is None else str(value) for value in (item.samples, tokens))
        yield "\t".join((recording, item.utterance, fields[1], fields[2], *optional))


def _say_bad_segment(report: Report, utterance: str, message: str) -> None:
    report.add("bad segment", utterance, f"segments: {utterance}: {message}")


def _piece(fields: list[str]) -> Piece:
    _, utterance, start, end, samples, tokens = fields
    # Kaldi writes -1 for the end of the recording.
    end_s = None if float(end) == -1 else float(end)
    return Piece(
        utterance,
        float(start),
        end_s,
        int(samples) if samples else None,
        int(tokens) if tokens else None,
    )


def _positive(report: Report, utterance: str, value: str | None) -> int | None:
    if value is None:
        return None
    if value.isdecimal() and int(value) > 0:
        return int(value)
    message = f"utt2num_samples: {utterance} must have a positive integer, got {value!r}"
    report.add("bad length", utterance, message)
    return None


def _is_sorted(report: Report, path: Path) -> bool:
    """Reads a table once, for its order and for lines that are none."""

    def complain(error: ValueError) -> None:
        report.add("bad line", "", str(error))

    before, count = "", report.count("not sorted")
    for _, key, _ in iter_table(path, complain):
        if key < before:
            report.add("not sorted", key, f"{path.name} is not sorted: {key} stands after {before}")
        before = key
    return report.count("not sorted") == count


def _rows(path: Path, is_sorted: bool, report: Report | None = None) -> Iterator[tuple[str, str]]:
    """Keys and values of a table in order; the first of those with one key."""
    rows: Iterator[tuple[str, str]]
    rows = ((key, value) for _, key, value in iter_table(path, complain=lambda error: None))
    if not is_sorted:
        lines = sorted_lines(f"{key}\t{value}" for key, value in rows)
        rows = ((key, value) for key, _, value in (line.partition("\t") for line in lines))
    before = None
    for key, value in rows:
        if key != before:
            yield key, value
        elif report is not None:
            report.add("duplicate", key, f"{path.name}: duplicate key {key!r}")
        before = key


def _check_inverse(report: Report, utt2spk: Rows, spk2utt: Rows) -> None:
    wanted = sorted_lines(f"{speaker}\t{utterance}" for utterance, speaker in utt2spk())
    there = (f"{speaker}\t{name}" for speaker, names in spk2utt() for name in names.split())
    for one, other in zip_longest(wanted, there):
        if one != other:
            least = min(pair for pair in (one, other) if pair is not None)
            speaker, _, utterance = least.partition("\t")
            message = f"first at speaker {speaker!r}, utterance {utterance}"
            report.add("spk2utt", speaker, f"spk2utt is not the inverse of utt2spk: {message}")
            return
