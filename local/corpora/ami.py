"""The AMI Meeting Corpus, by the reading of lhotse: headsets (ihm) or one distant microphone (sdm).

    <corpus_dir>/.../<meeting>.Headset-<n>.wav     ihm
    <corpus_dir>/.../<meeting>.Array1-01.wav       sdm
    <corpus_dir>/[ami_public_manual_1.6.2/]{words,segments,corpusResources}, or the zip

Partition: "full-corpus-asr", which the speech recognition literature reports (Kaldi, ESPnet,
icefall). It differs from "full-corpus" in that the meetings of ES2003, ES2014, TS3006 and TS3007,
which that one keeps for dev and test, are in train. Segments and text are those of lhotse's
Kaldi-like preparation: the annotators' segments, split at full stops, those of more than 30 words
at commas, neighbours without a pause joined; upper case without punctuation.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from itertools import chain
from pathlib import Path
from zipfile import Path as ZipPath

from espnet_local.config import nearest
from espnet_local.files import fingerprint
from local.corpora.ami_annotations import Root, find_annotations
from local.corpora.ami_reading import AmiReading
from local.corpora.cutting import Listed, SegmentCorpus, listed
from local.corpora.tree import dated, files_below
from local.corpora.utterance import SETS, Exclusion

log = logging.getLogger(__name__)
VERSION = 2  # raise it when the result changes with unchanged input
PARTITION = "full-corpus-asr"
DEBUG_MEETINGS = 2  # of each set
MICS = {
    "ihm": re.compile(r"(?P<meeting>[A-Z]{2}\d{4}[a-z]?)\.Headset-(?P<channel>\d)\.wav"),
    "sdm": re.compile(r"(?P<meeting>[A-Z]{2}\d{4}[a-z]?)\.Array1-01\.wav"),
}
SHOWN = {"ihm": "{}.Headset-<n>.wav", "sdm": "{}.Array1-01.wav"}


@dataclass(frozen=True, kw_only=True)
class AmiCorpus(SegmentCorpus):
    """The corpus with its options.

    Raises:
        FileNotFoundError: when there is no such folder, no audio of the microphone in it, or no
            annotations.
        ValueError: for an unknown microphone, or different files for one headset.
    """

    folder: Path
    mic: str = "ihm"
    debug: bool = False

    def __post_init__(self) -> None:
        if self.mic not in MICS:
            raise ValueError(
                f"mic must be one of {', '.join(MICS)}, got {self.mic!r}{nearest(self.mic, MICS)}"
            )
        if not self.folder.is_dir():
            raise FileNotFoundError(2, "corpus_dir is no folder", str(self.folder))
        _ = self._annotations
        if not self._audio:
            wanted = SHOWN[self.mic].format("<meeting>")
            raise FileNotFoundError(2, f"corpus_dir has no {wanted}", str(self.folder))

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on: audio and annotations by date."""
        root = self._annotations
        files = [path for channels in self._audio.values() for path in channels.values()]
        if isinstance(root, ZipPath):
            files.append(Path(root.root.filename or ""))
        else:
            files += [p for name in ("words", "segments", "corpusResources")
                      for p in sorted((root / name).iterdir())]  # fmt: skip
        dates = [[str(path.resolve()), dated(path)] for path in files]
        return {
            "corpus": "ami",
            "version": VERSION,
            "debug": self.debug,
            "mic": self.mic,
            "lhotse": metadata.version("lhotse"),
            "source": fingerprint(dates),
        }

    def listed(self, set_name: str) -> Listed:
        """What is excluded before audio is read, and the rest."""
        return self._sets[set_name]

    @cached_property
    def _annotations(self) -> Root:
        return find_annotations(self.folder)

    @cached_property
    def _audio(self) -> dict[str, dict[int, Path]]:
        """The files by meeting and channel."""
        found: dict[str, dict[int, list[Path]]] = {}
        for path in files_below(self.folder):
            if name := MICS[self.mic].fullmatch(path.name):
                channel = int(name.groupdict().get("channel") or 0)
                found.setdefault(name["meeting"], {}).setdefault(channel, []).append(path)
        return {
            meeting: {channel: _choose(meeting, paths) for channel, paths in channels.items()}
            for meeting, channels in found.items()
        }

    @cached_property
    def _sets(self) -> dict[str, Listed]:
        """What is excluded before audio is read, and the rest, by set."""
        from lhotse.recipes.ami import PARTITIONS

        partition = PARTITIONS[PARTITION]
        chosen = {set_name: self._meetings(partition[set_name]) for set_name in SETS}
        if others := sorted(
            self._audio.keys() - {n for names in partition.values() for n in names}
        ):
            log.info("in no set of the partition %s: %s", PARTITION, ", ".join(others))
        audio = {name: self._audio[name] for names in chosen.values() for name in names}
        reading = AmiReading(self.mic, SHOWN[self.mic], audio, self._annotations)
        sets = {}
        for set_name in SETS:
            missing = [
                Exclusion(id=name, reason=f"no {SHOWN[self.mic].format(name)} in corpus_dir")
                for name in partition[set_name]
                if name not in self._audio
            ]
            if missing:
                count = len(partition[set_name])
                log.warning("%s: %d of %d meetings are not there", set_name, len(missing), count)
            read = (item for name in chosen[set_name] for item in reading.items(name))
            sets[set_name] = listed(chain(missing, read), set_name, self.debug)
        return sets

    def _meetings(self, listed: Iterable[str]) -> list[str]:
        there = [name for name in listed if name in self._audio]
        return there[:DEBUG_MEETINGS] if self.debug else there


def _choose(meeting: str, paths: list[Path]) -> Path:
    """The file of several of one name: the one in <meeting>/audio/, as the corpus comes."""
    usual = [path for path in paths if path.parts[-3:-1] == (meeting, "audio")] or paths
    taken = usual[0]
    for other in usual[1:]:
        if taken.stat().st_size != other.stat().st_size:
            raise ValueError(
                f"{taken} and {other} differ: move away the one that is not to be used"
            )
    for other in paths:
        if other != taken:
            log.warning("%s is there twice: taking %s, not %s", taken.name, taken, other)
    return taken
