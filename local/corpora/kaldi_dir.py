"""A user's own Kaldi data directories: <folder>/{train,dev,test}. N samples.

    wav.scp    <recording> <file>, or <archive>:<offset>; relative names start at the working
               directory, as in Kaldi; pipes are not run
    segments   <utterance> <recording> <start s> <end s>; optional: without it, a recording is
               an utterance
    text       <utterance> <words>
    utt2spk    <utterance> <speaker>

Audio of any rate becomes 16 kHz; what cannot be used is listed in excluded.tsv. Of lines that
contradict one another, none is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from espnet_local.audio import split_offset
from espnet_local.files import fingerprint, iter_table
from local.corpora.cutting import Listed, Segment, SegmentCorpus, listed
from local.corpora.tree import dated
from local.corpora.utterance import SETS, Exclusion, LeftOut

log = logging.getLogger(__name__)
VERSION = 3  # raise it when the result changes with unchanged input


class Piece(NamedTuple):
    """A line of segments: a piece of a recording."""

    recording: str
    start_s: float
    end_s: float | None  # None: to the end of the recording


class Table(NamedTuple):
    """A table by its keys."""

    rows: dict[str, str]  # of several lines of a key, the first
    doubtful: set[str]  # keys of lines that differ


@dataclass(frozen=True, kw_only=True)
class KaldiCorpus(SegmentCorpus):
    """The data directories with their options.

    Raises:
        FileNotFoundError: when a set or one of its tables is missing.
        ValueError: for a table with an empty line, or one that is not UTF-8.
    """

    folder: Path
    debug: bool = False

    def __post_init__(self) -> None:
        _ = self._tables

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on, for a fingerprint: tables by content, audio by date."""
        paths, dates = [], {}
        for set_name, tables in self._tables.items():
            paths += [self.folder / set_name / name for name in tables]
            audio = {str(split_offset(value)[0]) for value in tables["wav.scp"].rows.values()}
            dates |= {path: dated(path) for path in audio}
        return {
            "corpus": f"kaldi:{self.folder}",
            "version": VERSION,
            "debug": self.debug,
            "source": fingerprint([[str(path) for path in paths], dates], paths),
        }

    @cached_property
    def _tables(self) -> dict[str, dict[str, Table]]:
        return {
            set_name: {
                name: _read(self.folder / set_name / name)
                for name in ("wav.scp", "segments", "text", "utt2spk")
                if name != "segments" or (self.folder / set_name / name).exists()
            }
            for set_name in SETS
        }

    def listed(self, set_name: str) -> Listed:
        """What tables already exclude, and the rest."""
        return listed(_items(self._tables[set_name]), set_name, self.debug)


def _read(path: Path) -> Table:
    table = Table({}, set())
    again = 0
    for number, key, value in iter_table(path):
        if number == 1:
            key = key.removeprefix("\ufeff")  # some editors mark UTF-8 so
        if key not in table.rows:
            table.rows[key] = value
        elif table.rows[key] != value:
            table.doubtful.add(key)
        else:
            again += 1
    if again:
        log.warning("%s: %d lines stand there twice", path, again)
    return table


def _items(tables: dict[str, Table]) -> Iterator[Segment | Exclusion]:
    recordings, texts = tables["wav.scp"].rows, tables["text"].rows
    utterances = tables.get("segments", tables["wav.scp"]).rows
    used = set()
    for utterance in texts.keys() - utterances.keys():
        yield Exclusion(id=utterance, reason="transcript without audio")
    for utterance in sorted(utterances):
        try:
            piece = Piece(utterance, 0.0, None)
            if "segments" in tables:
                piece = _piece(utterances[utterance])
            used.add(piece.recording)
            yield _segment(utterance, piece, tables)
        except LeftOut as left:
            yield Exclusion(id=utterance, reason=str(left))
    for recording in recordings.keys() - used:
        yield Exclusion(id=recording, reason="recording without segment")


def _segment(utterance: str, piece: Piece, tables: dict[str, Table]) -> Segment:
    for name, table in tables.items():
        if (piece.recording if name == "wav.scp" else utterance) in table.doubtful:
            raise LeftOut(f"several lines in {name} that differ")
    audio = tables["wav.scp"].rows.get(piece.recording)
    text = tables["text"].rows.get(utterance)
    speaker = tables["utt2spk"].rows.get(utterance)
    if audio is None:
        raise LeftOut(f"no recording {piece.recording} in wav.scp")
    if "|" in (audio[:1], audio[-1:]):
        raise LeftOut("pipes are not run, write the audio to files first")
    if text is None:
        raise LeftOut("audio without transcript")
    if not text:
        raise LeftOut("empty transcript")
    if not speaker:
        raise LeftOut("no speaker in utt2spk")
    if len(speaker.split()) > 1:
        raise LeftOut(f"speaker must be one word, got {speaker!r}")
    return Segment(
        id=utterance,
        speaker=speaker,
        text=text,
        audio=audio,
        start_s=piece.start_s,
        end_s=piece.end_s,
    )


def _piece(value: str) -> Piece:
    fields = value.split()
    try:
        recording, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
    except (IndexError, ValueError):
        raise LeftOut(f"segment must be <recording> <start s> <end s>, got {value!r}") from None
    # Kaldi writes -1 for the end of the recording.
    return Piece(recording, start_s, None if end_s == -1 else end_s)
