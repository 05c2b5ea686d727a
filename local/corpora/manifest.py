"""A user's own manifest: rows with an audio file and its text, see `manifest_rows`.

A folder holds one file for each set, by their names (`SET_NAMES`; `train_manifest.json` is as good
as `train.json`). A single file has a column `split` with such names, or dev and test are held out
by audio file and speaker, see `held_out`. Relative audio files start at the manifest's folder.
`offset` and `duration` (s) select a piece of a longer file.

An utterance is called as its column `id` says, or after speaker, file and offset. Without a column
for the speaker every utterance is its own. What cannot be used is listed in excluded.tsv; rows that
do not tell their set, in that of train.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from espnet_local.files import fingerprint
from local.corpora.cutting import Listed, Segment, SegmentCorpus, listed
from local.corpora.held_out import hold_out
from local.corpora.manifest_rows import SUFFIXES, Entry, Manifest, Rejected, clean, read_manifest
from local.corpora.utterance import SETS, Exclusion, Items

log = logging.getLogger(__name__)

VERSION = 2  # raise it when the result changes with unchanged input
SET_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test", "eval"),
}
MAX_HEADER_BYTES = 44  # a wav file of this size has no audio
_SET_OF = {name: set_name for set_name, names in SET_NAMES.items() for name in names}


class Named(NamedTuple):
    """A row with its id."""

    id: str
    entry: Entry
    path: str  # of its audio


class Content(NamedTuple):
    """A set, or all of them."""

    rows: list[Named]
    rejected: list[Rejected]


@dataclass(frozen=True, kw_only=True)
class ManifestCorpus(SegmentCorpus):
    """The manifest with its options.

    Raises:
        FileNotFoundError: when there is no such file or folder.
        ValueError: for a file or set that is missing in it, or without the columns it needs.
    """

    path: Path
    debug: bool = False

    def __post_init__(self) -> None:
        _ = self._sets  # read now, so that mistakes are found at once

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on, for a fingerprint: rows by content, audio by date."""
        files = list(dict.fromkeys(self._files.values()))
        return {
            "corpus": f"manifest:{self.path}",
            "version": VERSION,
            "debug": self.debug,
            "source": fingerprint([[str(path) for path in files], self._dates], files),
        }

    def items(self, set_name: str, nj: int) -> Items:
        """Utterances and exclusions of a set."""
        if set_name == SETS[0]:
            for note in self._notes:
                log.info("%s", note)
        return super().items(set_name, nj)

    def listed(self, set_name: str) -> Listed:
        """What rows already exclude, and the rest."""
        rows, rejected = self._sets[set_name]
        exclusions = [Exclusion(id=row.name, reason=row.reason) for row in rejected]
        segments = [_segment(row) for row in sorted(rows)]
        return listed([*exclusions, *segments], set_name, self.debug)

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The file of each set; one file for all where the manifest is one."""
        if self.path.is_dir():
            return _files_of(self.path)
        if not self.path.exists():
            raise FileNotFoundError(2, "no such file or folder", str(self.path))
        return dict.fromkeys(SETS, self.path)

    @cached_property
    def _manifests(self) -> dict[Path, Manifest]:
        return {path: read_manifest(path) for path in dict.fromkeys(self._files.values())}

    @cached_property
    def _contents(self) -> dict[Path, Content]:
        return {path: _named(path.parent, rows) for path, rows in self._manifests.items()}

    @cached_property
    def _dates(self) -> dict[str, list[int]]:
        """Size and date of the audio that there is."""
        dates = {}
        for content in self._contents.values():
            for path in {row.path for row in content.rows}:
                try:
                    status = os.stat(path)
                except (OSError, ValueError):  # a name with a zero byte
                    continue
                dates[path] = [status.st_size, status.st_mtime_ns]
        return dates

    @cached_property
    def _sets(self) -> dict[str, Content]:
        if len(self._contents) == len(SETS):
            sets = {name: _of_set(name, self._contents[p]) for name, p in self._files.items()}
        elif "split" in self._manifests[self.path].columns:
            sets = self._by_column()
        else:
            sets = self._held_out()
        return sets

    def _by_column(self) -> dict[str, Content]:
        """The sets that the column `split` says."""
        sets = {name: Content([], []) for name in SETS}
        content = self._contents[self.path]
        for row in content.rows:
            split = row.entry.split
            if set_name := _set_of(split):
                sets[set_name].rows.append(row)
            else:
                reason = f"{row.entry.where}: split {split!r} is not the name of a set"
                sets["train"].rejected.append(Rejected(row.id, reason, split))
        for rejected in content.rejected:
            sets[_set_of(rejected.split) or "train"].rejected.append(rejected)
        for name, found in sets.items():
            if not found.rows:
                there = Counter(str(row.entry.split) for row in content.rows)
                listed = ", ".join(f"{split} {count} times" for split, count in there.items())
                raise ValueError(
                    f"{self.path}: no usable row of split {' or '.join(SET_NAMES[name])}; "
                    f"there are {listed or 'none at all'}"
                )
        return sets

    @cached_property
    def _split(self) -> tuple[dict[str, str], str]:
        # Audio that is missing or empty is of no use in a set as small as dev and test.
        rows = [
            row
            for row in self._contents[self.path].rows
            if self._dates.get(row.path, [0])[0] > MAX_HEADER_BYTES
        ]
        try:
            return hold_out(
                {row.id: row.entry.speaker for row in rows},
                {row.id: os.path.normpath(row.entry.audio) for row in rows},
            )
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _held_out(self) -> dict[str, Content]:
        content, (set_of, _) = self._contents[self.path], self._split
        sets = {name: Content([], []) for name in SETS}
        for row in content.rows:
            sets[set_of.get(row.id, "train")].rows.append(row)
        sets["train"].rejected.extend(content.rejected)
        return sets

    @property
    def _notes(self) -> Iterator[str]:
        """What a reader must know of how the rows were taken."""
        for path, manifest in self._manifests.items():
            taken = ", ".join(f"{thing} in {name!r}" for thing, name in manifest.columns.items())
            yield f"{path}: {taken}"
            alone = sum(entry.speaker is None for entry in manifest.entries)
            if alone:
                yield (
                    f"{path}: {alone} of {len(manifest.entries)} rows without a speaker; "
                    "each is a speaker of its own"
                )
        sets = Counter(
            path
            for content in self._sets.values()
            for path in {os.path.normpath(row.path) for row in content.rows}
        )
        if in_several := sorted(path for path, count in sets.items() if count > 1):
            yield (
                f"{self.path}: {len(in_several)} audio files are in more than one set, "
                f"such as {in_several[0]}"
            )
        if "_split" in vars(self):
            yield f"{self.path}: {self._split[1]}"


def _files_of(folder: Path) -> dict[str, Path]:
    """The file of each set in a folder."""
    candidates: dict[str, list[Path]] = defaultdict(list)
    there = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    for path in there:
        if set_name := _set_of(path.stem.removesuffix("_manifest")):
            candidates[set_name].append(path)
    for set_name in SETS:
        found = [path.name for path in candidates[set_name]]
        if not found:
            raise ValueError(
                f"{folder}: no file for {set_name} ({' or '.join(SET_NAMES[set_name])} with "
                f"{', '.join(SUFFIXES)}); there are "
                f"{', '.join(path.name for path in there) or 'no such files'}"
            )
        if len(found) > 1:
            raise ValueError(f"{folder}: {len(found)} files for {set_name}: {', '.join(found)}")
    return {set_name: candidates[set_name][0] for set_name in SETS}


def _set_of(name: str | None) -> str | None:
    return _SET_OF.get((name or "").lower())


def _of_set(set_name: str, content: Content) -> Content:
    """The file of a set without the rows that name another one."""
    kept = Content([], list(content.rejected))
    for row in content.rows:
        if (_set_of(row.entry.split) or set_name) == set_name:
            kept.rows.append(row)
        else:
            reason = f"{row.entry.where}: split {row.entry.split!r} in the file of {set_name}"
            kept.rejected.append(Rejected(row.id, reason, row.entry.split))
    return kept


def _named(folder: Path, manifest: Manifest) -> Content:
    """Gives rows their ids; the second of two with the same one goes."""
    rejected = list(manifest.rejected)
    rows: dict[str, Named] = {}
    for name, entry in zip(_ids(manifest.entries), manifest.entries):
        if name in rows:
            first = rows[name].entry.where
            reason = f"a second row of this id, at {entry.where}; that at {first} is kept"
            rejected.append(Rejected(name, reason, entry.split))
        else:
            rows[name] = Named(name, entry, os.path.join(folder, entry.audio))
    return Content(list(rows.values()), rejected)


def _ids(entries: Sequence[Entry]) -> list[str]:
    """An id for each row that does not depend on where it stands."""
    names = [entry.id or _made_id(entry) for entry in entries]
    files: dict[str, set[str]] = defaultdict(set)
    for name, entry in zip(names, entries):
        if not entry.id:
            files[name].add(os.path.normpath(entry.audio))
    # Files of one name in several folders: the rest of their paths tells them apart.
    return [
        f"{name}-{hashlib.sha256(os.path.normpath(entry.audio).encode()).hexdigest()[:8]}"
        if not entry.id and len(files[name]) > 1
        else name
        for name, entry in zip(names, entries)
    ]


def _made_id(entry: Entry) -> str:
    """`<speaker>-<file>-<offset in ms>`: sorted by id, rows are sorted by speaker."""
    name, speaker = clean(Path(entry.audio).stem) or "unnamed", entry.speaker or ""
    if not name.startswith(speaker):
        name = f"{speaker}-{name}"
    return name if entry.offset_s is None else f"{name}-{round(entry.offset_s * 1000):08d}"


def _segment(row: Named) -> Segment:
    entry = row.entry
    start_s = entry.offset_s or 0.0
    return Segment(
        id=row.id,
        speaker=entry.speaker or row.id,
        text=entry.text,
        audio=row.path,
        start_s=start_s,
        end_s=None if entry.duration_s is None else start_s + entry.duration_s,
    )
