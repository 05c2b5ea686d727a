"""Any corpus that lhotse knows: a folder of its manifests, or a recipe that makes one.

Relative names of audio files start at the working directory, as in lhotse. What a manifest holds
and cannot be used is listed in excluded.tsv; what a recipe did not put into its manifests is known
to its own log alone. With `debug`, a recipe still looks at its whole corpus.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_local.files import fingerprint
from local.corpora.cutting import Listed, Segment, SegmentCorpus, listed
from local.corpora.lhotse_manifests import (
    NOT_READABLE,
    Part,
    audio_files,
    choose_parts,
    find_parts,
    parse_parts,
)
from local.corpora.lhotse_recipe import LhotseRecipe
from local.corpora.lhotse_segments import segments_of
from local.corpora.tree import dated
from local.corpora.utterance import SETS, Exclusion

if TYPE_CHECKING:
    from lhotse import Recording

log = logging.getLogger(__name__)
VERSION = 2  # raise it when the result changes with unchanged input


@dataclass(frozen=True, kw_only=True)
class LhotseCorpus(SegmentCorpus):
    """Manifests with their options.

    Args:
        folder: the manifests; where a recipe makes them, they need not be there yet.
        recipe: makes the manifests first.
        parts: which parts are train, dev and test, such as `train=a+b,dev=c,test=d`; sets that it
            does not name are found by the common names.
        nj: processes for the recipe.

    Raises:
        FileNotFoundError: when the manifests or the recipe's corpus are not there.
        ValueError: when a set's parts are not clear.
    """

    folder: Path
    recipe: LhotseRecipe | None = None
    parts: str | None = None
    debug: bool = False
    nj: int = 1

    def __post_init__(self) -> None:
        _ = self._stated if self.recipe else self._chosen

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on: manifests, which can be gigabytes, and audio by date."""
        if self.recipe:
            source: object = self.recipe.identity()
        else:
            parts = [part for parts in self._chosen.values() for part in parts]
            manifests = [path for part in parts for path in (part.recordings, part.supervisions)]
            audio = {name for part in parts for name in audio_files(part)}
            source = fingerprint(
                [{str(path.resolve()): dated(path) for path in manifests},
                 {name: dated(name) for name in audio}]
            )  # fmt: skip
        return {
            "corpus": "lhotse",
            "version": VERSION,
            "debug": self.debug,
            "parts": self.parts,
            "source": source,
        }

    def listed(self, set_name: str) -> Listed:
        """What is excluded before audio is read, and the rest."""
        return self._sets[set_name]

    @cached_property
    def _stated(self) -> dict[str, tuple[str, ...]]:
        return parse_parts(self.parts) if self.parts else {}

    @cached_property
    def _chosen(self) -> dict[str, list[Part]]:
        there = find_parts(self.folder)
        chosen = choose_parts(there, self._stated, self.folder)
        if unused := sorted(there.keys() - set(chain.from_iterable(chosen.values()))):
            log.info("%s: in no set are the parts %s", self.folder, ", ".join(unused))
        return {set_name: [there[part] for part in chosen[set_name]] for set_name in SETS}

    @cached_property
    def _sets(self) -> dict[str, Listed]:
        """What manifests already exclude, and the rest, by set."""
        if self.recipe:
            self.recipe.make(self.folder, self.nj)
        return {set_name: self._read(set_name) for set_name in SETS}

    def _read(self, set_name: str) -> Listed:
        seen: set[str] = set()
        items = chain.from_iterable(_items(part, seen) for part in self._chosen[set_name])
        return listed(items, set_name, self.debug)


def _items(part: Part, seen: set[str]) -> Iterator[Segment | Exclusion]:
    """What a part holds; another part may have another recording of the same id."""
    from lhotse import RecordingSet, SupervisionSet

    recordings: dict[str, Recording | None] = {}
    try:
        for recording in RecordingSet.from_jsonl_lazy(part.recordings):
            alike = recordings.setdefault(recording.id, recording) == recording
            recordings[recording.id] = recording if alike else None
        supervisions = SupervisionSet.from_jsonl_lazy(part.supervisions)
        yield from segments_of(recordings, supervisions, seen)
    except NOT_READABLE as error:
        raise ValueError(
            f"{part.supervisions} or their recordings are cut or no lhotse manifests: "
            f"{type(error).__name__} {error}"
        ) from error
