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

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from espnet_local.audio import split_offset
from espnet_local.files import fingerprint, read_table
from local.corpora.cutting import Listed, Segment, SegmentCorpus, listed
from local.corpora.utterance import SETS, Exclusion

VERSION = 2  # raise it when the result changes with unchanged input


class Piece(NamedTuple):
    """A line of segments: a piece of a recording."""

    recording: str
    start_s: float
    end_s: float | None  # None: to the end of the recording


@dataclass(frozen=True, kw_only=True)
class KaldiCorpus(SegmentCorpus):
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

    @cached_property
    def _tables(self) -> dict[str, dict[str, dict[str, str]]]:
        return {
            set_name: {
                name: read_table(self.folder / set_name / name)
                for name in ("wav.scp", "text", "utt2spk")
            }
            for set_name in SETS
        }

    def listed(self, set_name: str) -> Listed:
        """What tables already exclude, and the rest."""
        return listed(self._items(set_name), set_name, self.debug)

    def _items(self, set_name: str) -> Iterator[Segment | Exclusion]:
        tables = self._tables[set_name]
        scp, texts, speakers = tables["wav.scp"], tables["text"], tables["utt2spk"]
        pieces = _pieces(self.folder / set_name, scp)
        for utterance in texts.keys() - pieces.keys():
            yield Exclusion(id=utterance, reason="transcript without audio")
        for utterance, piece in sorted(pieces.items()):
            reason = None
            if utterance not in texts:
                reason = "audio without transcript"
            elif not texts[utterance]:
                reason = "empty transcript"
            elif not speakers.get(utterance):
                reason = "no speaker in utt2spk"
            elif piece.recording not in scp:
                reason = f"no recording {piece.recording} in wav.scp"
            if reason:
                yield Exclusion(id=utterance, reason=reason)
                continue
            yield Segment(
                id=utterance,
                speaker=speakers[utterance],
                text=texts[utterance],
                audio=scp[piece.recording],
                start_s=piece.start_s,
                end_s=piece.end_s,
            )


def _pieces(folder: Path, scp: dict[str, str]) -> dict[str, Piece]:
    path = folder / "segments"
    if not path.exists():
        return {name: Piece(name, 0.0, None) for name in scp}
    pieces = {}
    for utterance, value in read_table(path).items():
        fields = value.split()
        try:
            recording, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
        except (IndexError, ValueError):
            raise ValueError(
                f"{path}: {utterance}: must be <recording> <start s> <end s>, got {value!r}"
            ) from None
        # Kaldi writes -1 for the end of the recording.
        pieces[utterance] = Piece(recording, start_s, None if end_s == -1 else end_s)
    return pieces
