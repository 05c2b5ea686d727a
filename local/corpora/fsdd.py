"""The Free Spoken Digit Dataset: single digits of one speaker joined into utterances. N samples.

    <folder>/recordings/<digit>_<speaker>_<index>.wav    mono, 8 kHz

Split "official" follows the data set: recordings 0-4 of every digit and speaker are the test;
5-9 are the dev set here, the rest train. Split "speaker:NAME" holds out all recordings of NAME
for the test and those of the next speaker in the alphabet (the first after the last) for dev.
In both, no recording is in two sets. A recording serves in several utterances of its set.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soxr

from espnet_local.audio import read_audio
from espnet_local.cli import one_line
from espnet_local.config import SAMPLE_RATE, nearest
from espnet_local.files import fingerprint
from local.corpora.utterance import DEBUG_SIZES, Exclusion, Items, TimedWord, Utterance

VERSION = 1  # raise it when the corpus changes with unchanged options
SIZES = {"train": 1200, "dev": 100, "test": 200}  # utterances
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SOURCE_RATE = 8000  # Hz
DIGITS_EACH = (3, 7)
GAP_S = (0.05, 0.4)
SILENCE_S = (0.1, 0.5)  # before and after the speech
LEVEL_DB = (-6.0, 6.0)  # of an utterance, around what was recorded
HISS = 1e-4  # amplitude of what fills gaps: digital silence occurs in no recording
TEST_INDEXES, DEV_INDEXES = range(0, 5), range(5, 10)
_NAME = re.compile(r"(\d)_(\w+?)_(\d+)\.wav")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One spoken digit."""

    path: Path
    digit: int
    speaker: str
    index: int


@dataclass(frozen=True, kw_only=True)
class FsddCorpus:
    """The corpus with its options.

    Raises:
        FileNotFoundError: for a folder that is not there or holds no folder recordings.
        ValueError: for a folder without recordings or an unknown split or speaker.
    """

    folder: Path
    split: str = "official"
    seed: int = 0
    debug: bool = False

    def __post_init__(self) -> None:
        if not (self.folder / "recordings").is_dir():
            raise FileNotFoundError(2, "fsdd_dir has no such folder", f"{self.folder}/recordings")
        if not self._names[0]:
            raise ValueError(
                f"{self.folder}/recordings holds no <digit>_<speaker>_<index>.wav file"
            )
        if self.split == "official":
            return
        kind, _, speaker = self.split.partition(":")
        if kind != "speaker" or not speaker:
            hint = nearest(kind, ("official", "speaker"))
            raise ValueError(
                f"fsdd_split must be official or speaker:<name>, got {self.split!r}{hint}"
            )
        if speaker not in self._speakers:
            raise ValueError(
                f"fsdd_split: speaker must be one of {', '.join(self._speakers)}, "
                f"got {speaker!r}{nearest(speaker, self._speakers)}"
            )
        if len(self._speakers) < 3:
            raise ValueError(
                f"fsdd_split {self.split} needs 3 speakers or more, got {len(self._speakers)}"
            )

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on, for a fingerprint."""
        files = sorted(entry for entry in (self.folder / "recordings").iterdir() if entry.is_file())
        return {
            "corpus": "fsdd",
            "version": VERSION,
            "split": self.split,
            "seed": self.seed,
            "debug": self.debug,
            "recordings": fingerprint([file.name for file in files], files),
        }

    def size(self, set_name: str) -> int:
        """How many utterances a set has."""
        return (DEBUG_SIZES if self.debug else SIZES)[set_name]

    def items(self, set_name: str, nj: int) -> Items:
        """Utterances of a set, after its bad recordings; one process is enough.

        Raises:
            ValueError: when no recording is good.
        """
        if set_name == "train":
            # Names tell no set; they are counted once, where most recordings are.
            yield from self._names[1]
        good: dict[str, list[tuple[Recording, np.ndarray]]] = defaultdict(list)
        for recording in self._names[0]:
            if self.set_of(recording) != set_name:
                continue
            try:
                samples = read_audio(str(recording.path), SOURCE_RATE)
            except (ValueError, OSError) as error:
                reason = one_line(error).removeprefix(f"{recording.path}: ")
                yield Exclusion(id=recording.path.name, reason=reason)
            else:
                samples = soxr.resample(samples, SOURCE_RATE, SAMPLE_RATE)
                good[recording.speaker].append((recording, samples))
        if not good:
            raise ValueError(f"{self.folder}/recordings has no good recording for {set_name}")
        yield from self._joined(set_name, good)

    def set_of(self, recording: Recording) -> str:
        """The set of a recording, by the rule of the split."""
        if self.split == "official":
            if recording.index in TEST_INDEXES:
                return "test"
            return "dev" if recording.index in DEV_INDEXES else "train"
        test = self._speakers.index(self.split.partition(":")[2])
        dev = (test + 1) % len(self._speakers)
        return {self._speakers[test]: "test", self._speakers[dev]: "dev"}.get(
            recording.speaker, "train"
        )

    def _joined(
        self, set_name: str, good: dict[str, list[tuple[Recording, np.ndarray]]]
    ) -> Iterator[Utterance]:
        rng = random.Random(f"{set_name}-{self.split}-{self.seed}")
        speakers = sorted(good)
        decks: dict[str, list[tuple[Recording, np.ndarray]]] = defaultdict(list)
        for number in range(self.size(set_name)):
            speaker = speakers[number % len(speakers)]
            count = rng.randint(*DIGITS_EACH)
            deck = decks[speaker]
            while len(deck) < count:
                # Dealt from shuffled decks, so that every recording is heard equally often.
                deck[:0] = rng.sample(good[speaker], len(good[speaker]))
            chosen = [deck.pop() for _ in range(count)]
            yield join(f"{speaker}-{set_name}-{number:04d}", chosen, self.seed)

    @cached_property
    def _speakers(self) -> list[str]:
        return sorted({recording.speaker for recording in self._names[0]})

    @cached_property
    def _names(self) -> tuple[list[Recording], list[Exclusion]]:
        """Recordings in the order of their names, and files whose names say no digit."""
        recordings: list[Recording] = []
        others: list[Exclusion] = []
        for path in sorted((self.folder / "recordings").iterdir()):
            name = _NAME.fullmatch(path.name)
            if name:
                recordings.append(
                    Recording(path=path, digit=int(name[1]), speaker=name[2], index=int(name[3]))
                )
            else:
                others.append(
                    Exclusion(id=path.name, reason="name is not <digit>_<speaker>_<index>.wav")
                )
        return recordings, others


def join(utterance_id: str, chosen: list[tuple[Recording, np.ndarray]], seed: int) -> Utterance:
    """Joins recordings of one speaker, each with samples (N,) at 16 kHz, into an utterance."""
    rng = np.random.default_rng(zlib.crc32(f"{utterance_id}-{seed}".encode()))
    pieces: list[np.ndarray] = [np.zeros(_draw_samples(rng, SILENCE_S), np.float32)]
    position = len(pieces[0])
    words = []
    for place, (recording, samples) in enumerate(chosen):
        last = place == len(chosen) - 1
        gap = np.zeros(_draw_samples(rng, SILENCE_S if last else GAP_S), np.float32)
        words.append(
            TimedWord(
                word=DIGITS[recording.digit],
                start_s=position / SAMPLE_RATE,
                duration_s=len(samples) / SAMPLE_RATE,
            )
        )
        pieces += [samples, gap]
        position += len(samples) + len(gap)
    joined = np.concatenate(pieces)
    joined = joined + HISS * rng.standard_normal(len(joined))
    gain = 10 ** (rng.uniform(*LEVEL_DB) / 20)
    # Never louder than full scale, which a loud recording may reach already.
    gain = min(gain, 1 / np.abs(joined).max())
    return Utterance(
        id=utterance_id,
        speaker=chosen[0][0].speaker,
        samples=(joined * gain).astype(np.float32),
        text=" ".join(word.word for word in words),
        words=tuple(words),
    )


def _draw_samples(rng: np.random.Generator, seconds: tuple[float, float]) -> int:
    return int(rng.uniform(*seconds) * SAMPLE_RATE)
