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
from collections.abc import Iterator, Mapping
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
    speaker: str | None
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
    dialect: dict[str, Any] = {"delimiter": ","}
    if path.suffix == ".tsv":
        # An apostrophe or an odd quotation mark would swallow the lines behind it.
        dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, **dialect)
        try:
            head = [name.strip() for name in next(reader, [])]
            line = reader.line_num
            for fields in reader:
                # The number of a row's first line: a quoted text may span several.
                number, line = line + 1, reader.line_num
                if not fields:
                    continue
                if len(fields) == len(head):
                    yield number, dict(zip(head, fields))
                else:
                    yield number, f"{len(fields)} fields, the head line has {len(head)}"
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}") from None


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
    if not isinstance(text, str):
        raise ValueError(f"{columns['text']} must be a string, got {text!r}")
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
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{column} is not UTF-8") from None
    return text


def _name(value: object, column: str) -> str | None:
    """A name, which may be a number in JSON."""
    return None if value is None else _string(value, column).strip() or None


def _seconds(value: object, column: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    positive = seconds > 0 or (seconds == 0 and column == "offset")
    if not (positive and math.isfinite(seconds)):
        raise ValueError(
            f"{column} must be a number {'>=' if column == 'offset' else '>'} 0, got {value!r}"
        )
    return seconds
