"""Rows of a manifest file: JSON lines, CSV or TSV, told apart by the suffix.

    .jsonl .json   a JSON object a line (NeMo; datasets.to_json of Hugging Face)
    .csv           comma-separated, with a head line
    .tsv           tab-separated, with a head line; quotation marks are letters

A thing is looked for under the names in `COLUMNS`, the first that the file has.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
COLUMNS = {
    # A mapping as in {"audio": {"path": "a.wav"}} names its file under `path`.
    "audio": ("audio_filepath", "path", "audio", "file", "file_name", "wav"),
    "text": ("text", "sentence", "transcription", "transcript"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id"),
    "offset": ("offset",),  # s, where the utterance begins in its file
    "duration": ("duration",),  # s, of the utterance
    "id": ("id",),
    "split": ("split",),
}


class Entry(NamedTuple):
    """A usable row."""

    where: str  # `train.jsonl:17`
    audio: str  # as it is written
    text: str
    speaker: str | None  # this and `id` fit a Kaldi table
    offset_s: float | None  # None: from the beginning
    duration_s: float | None  # None: to the end
    id: str | None
    split: str | None


class Rejected(NamedTuple):
    """A row that cannot be used, and why."""

    name: str  # its id, or where it stands
    reason: str
    split: str | None


class Manifest(NamedTuple):
    """What a file holds."""

    entries: list[Entry]
    rejected: list[Rejected]
    columns: dict[str, str]  # the file's name of each thing that it has


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest file; rows that cannot be used are told apart, not fatal.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for another suffix, a file without rows, or one in which a column for the audio
            or the text is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: must end in one of {', '.join(SUFFIXES)}")
    read = _json_rows if path.suffix.startswith(".json") else _table_rows
    rows = list(read(path))
    if rows and all(isinstance(row, str) for _, row in rows):
        raise ValueError(f"{path}: no readable row; {path.name}:{rows[0][0]}: {rows[0][1]}")
    found = _columns(path, [row for _, row in rows if not isinstance(row, str)])
    manifest = Manifest([], [], found)
    for number, row in rows:
        where = f"{path.name}:{number}"
        if isinstance(row, str):
            manifest.rejected.append(Rejected(where, row, None))
            continue
        try:
            manifest.entries.append(_entry(where, row, found))
        except ValueError as error:
            split = row.get(found.get("split", ""))
            known = split if isinstance(split, str) else None
            manifest.rejected.append(Rejected(where, str(error), known))
    return manifest


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Lines by number; a string says what is wrong with one."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            # What is not UTF-8 is found in the fields, where it matters.
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
            if not line:
                continue
            if number == 1 and line.startswith("["):
                raise ValueError(f"{path}: a JSON list, must be JSON lines: an object a line")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON: {error}"
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                yield number, f"must be a JSON object, got {type(row).__name__}"


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows by the number of their first line: a quoted text may span several."""
    # An apostrophe or an odd quotation mark would swallow the lines behind it.
    read = _tsv_record if path.suffix == ".tsv" else _csv_record
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        lines = list(stream)
    if not lines:
        return
    try:
        names, start = read(lines, 0, 0)
    except ValueError as error:
        raise ValueError(f"{path}:1: {error}") from None
    head = [name.strip() for name in names]
    while start < len(lines):
        number = start + 1
        try:
            fields, start = read(lines, start, len(head))
        except ValueError as error:
            start += 1
            yield number, str(error)
            continue
        if len(fields) == len(head):
            yield number, dict(zip(head, fields))
        elif fields:
            yield number, f"{len(fields)} fields, the head line has {len(head)}"


def _tsv_record(lines: Sequence[str], start: int, _: int) -> tuple[list[str], int]:
    line = lines[start].rstrip("\r\n")
    return line.split("\t") if line else [], start + 1


def _csv_record(lines: Sequence[str], start: int, columns: int) -> tuple[list[str], int]:
    """The fields of a record, and where the next one starts.

    Raises:
        ValueError: for an odd quotation mark, as far as it shows: it would glue rows together.
    """
    reader = csv.reader((lines[i] for i in range(start, len(lines))), strict=True)
    try:
        fields = next(reader, [])
    except csv.Error as error:
        raise ValueError(f"{error}; an odd quotation mark?") from None
    end = start + reader.line_num
    for inner in range(start + 1, end - 1):
        if len(next(csv.reader([lines[inner]]), [])) == columns:
            raise ValueError(
                f"its quotation mark closes only in line {end}; "
                f"line {inner + 1} is a row of its own"
            )
    return fields, end


def _columns(path: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The file's names of things."""
    there = dict.fromkeys(name for row in rows for name in row)
    if not there:
        raise ValueError(f"{path}: no readable row")
    found = {
        thing: next(name for name in names if name in there)
        for thing, names in COLUMNS.items()
        if any(name in there for name in names)
    }
    for thing in ("audio", "text"):
        if thing not in found:
            raise ValueError(
                f"{path}: no column for the {thing} ({', '.join(COLUMNS[thing])}); "
                f"there are {', '.join(there)}"
            )
    return found


def _entry(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Entry:
    def value(thing: str) -> Any:
        found = row.get(columns.get(thing, ""))
        return None if found == "" else found

    audio = value("audio")
    if isinstance(audio, dict):
        audio = audio.get("path")
    if not audio:
        raise ValueError(f"no {columns['audio']}")
    text = value("text")
    if text is None:
        raise ValueError("empty transcript")
    return Entry(
        where=where,
        audio=_string(audio, columns["audio"]),
        text=_string(text, columns["text"]),
        speaker=_name(value("speaker"), columns.get("speaker", "")),
        offset_s=_seconds(value("offset"), "offset"),
        duration_s=_seconds(value("duration"), "duration"),
        id=_name(value("id"), "id"),
        split=_name(value("split"), "split"),
    )


def _string(value: object, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{column} must be a string, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{column} is not UTF-8") from None
    return value


def _name(value: object, column: str) -> str | None:
    """A name, which may be a number in JSON, as it is written into tables."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    return None if value is None else clean(_string(value, column).strip()) or None


def clean(name: str) -> str:
    """Composed, and without what a Kaldi table or the name of a file cannot hold."""
    return re.sub(r"[\s/\\\0-\x1f]+", "_", unicodedata.normalize("NFC", name))


def _seconds(value: object, column: str) -> float | None:
    if value is None:
        return None
    try:
        is_number = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        seconds = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        seconds = math.nan
    positive = seconds > 0 or (seconds == 0 and column == "offset")
    if not (positive and math.isfinite(seconds)):
        raise ValueError(
            f"{column} must be a number {'>=' if column == 'offset' else '>'} 0, got {value!r}"
        )
    return seconds
