"""What a check of a data directory found: how often, of what kind, and the first few of each.

A problem breaks the format, or is an utterance that cannot be trained on. A remark is what the
recipe deals with by itself (another sample rate is converted, unknown characters become `<unk>`,
stage 0 leaves out what has more tokens than frames), or what does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROBLEMS = {
    "missing table": "wav.scp, text or utt2spk is not there",
    "no utterance": "there is none",
    "bad line": "an empty line, or bytes that are not UTF-8",
    "not sorted": "a key stands after a greater one, by LC_ALL=C",
    "duplicate": "a key stands twice in a table",
    "different ids": "an utterance is in one table, not in another",
    "spk2utt": "not the inverse of utt2spk",
    "empty text": "no transcript",
    "no speaker": "none in utt2spk",
    "bad length": "utt2num_samples must have a positive integer",
    "bad segment": "not <recording> <start s> <end s>, or ends before it starts",
    "beyond recording": "a segment that ends more than half a second after its recording",
    "no audio": "no such file, or a pipe, which is not run",
    "unreadable": "not audio, truncated, or empty",
    "channels": "more than one",
    "length differs": "from what utt2num_samples says",
    "too short": "for training",
    "too long": "for training",
}
REMARKS = {
    "no spk2utt": "Kaldi wants one; it is not needed here",
    "unused recording": "no segment is of it",
    "sample rate": "not 16 kHz; preparing the corpus converts it",
    "more tokens than frames": "left out by stage 0",
    "shared": "an id or audio of wav.scp is in an earlier directory too",
    "unexpected character": "not in --characters, or not in the first directory",
}
KEPT_MESSAGES = 3


@dataclass(kw_only=True)
class Found:
    """What one check found."""

    count: int = 0
    messages: list[str] = field(default_factory=list)  # the first of them


@dataclass(kw_only=True)
class Character:
    """An unexpected character."""

    count: int = 0
    example: str  # an utterance with it


@dataclass(kw_only=True)
class Report:
    """What all checks of a directory found.

    Args:
        folder: the directory.
        listen: called with utterance (or another key) and message of everything found.
    """

    folder: Path
    listen: Callable[[str, str], None] | None = None
    utterances: int = 0
    seconds: float = 0.0  # of audio; 0 when none was looked into
    found: dict[str, Found] = field(default_factory=dict)  # by the name of the check
    characters: dict[str, Character] = field(default_factory=dict)  # the unexpected ones

    def add(self, check: str, key: str, message: str) -> None:
        """Takes in that a check found something at a key, which may be empty."""
        assert check in PROBLEMS or check in REMARKS, check
        found = self.found.setdefault(check, Found())
        found.count += 1
        if len(found.messages) < KEPT_MESSAGES:
            found.messages.append(message)
        if self.listen is not None:
            self.listen(key, message)

    def add_character(self, character: str, times: int, utterance: str) -> None:
        """Takes in that an utterance has an unexpected character so many times."""
        found = self.characters.setdefault(character, Character(example=utterance))
        found.count += times

    def count(self, check: str) -> int:
        """How often a check found something."""
        return self.found[check].count if check in self.found else 0

    @property
    def problems(self) -> list[str]:
        """The first messages of each kind of problem; empty when there is none."""
        return [m for check in PROBLEMS if check in self.found for m in self.found[check].messages]

    def raise_if_bad(self) -> None:
        """
        Raises:
            ValueError: naming the first problems, when there are any.
        """
        shown = self.problems[:KEPT_MESSAGES]
        if shown:
            more = sum(map(self.count, PROBLEMS)) - len(shown)
            tail = f"; and {more} more" if more > 0 else ""
            raise ValueError(f"{self.folder}: {'; '.join(shown)}{tail}")
