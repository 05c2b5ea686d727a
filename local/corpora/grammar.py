"""The small grammar of the mini corpus: sentences of one or more clauses, by language."""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from espnet_local.config import from_mapping, load_yaml, nearest

GRAMMARS_PATH = Path(__file__).with_name("grammars.yaml")
CLAUSE_COUNTS = (1, 2, 3, 4)
CLAUSE_WEIGHTS = (0.2, 0.3, 0.27, 0.23)
MIN_WORDS, MAX_WORDS = 3, 22  # about 1.5 to 12 s of speech
_SLOT = re.compile(r"\{(\w+)(?::(\d+)-(\d+))?\}")
_BUCKETS = {"test": range(0, 2), "dev": range(2, 4), "train": range(4, 20)}  # of 20
_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """One language's block of `grammars.yaml`."""

    accents: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    clauses: tuple[str, ...]
    joiners: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("accents", "clauses", "joiners"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        for clause in self.clauses:
            for name, _, _ in _SLOT.findall(clause):
                if not self.classes.get(name):
                    raise ValueError(
                        f"clause {clause!r}: no class {name!r}{nearest(name, self.classes)}"
                    )

    def vocabulary(self) -> set[str]:
        """Every word that a sentence may hold."""
        fixed = {word for clause in self.clauses for word in _SLOT.sub(" ", clause).split()}
        joining = {word for joiner in self.joiners for word in joiner.split()}
        return fixed | joining | {word for words in self.classes.values() for word in words}

    def sentence(self, rng: random.Random) -> str:
        """One sentence; a comma stands where the speaker pauses between clauses."""
        count = rng.choices(CLAUSE_COUNTS, CLAUSE_WEIGHTS)[0]
        words = self._clause(rng)
        for _ in range(count - 1):
            more = [*rng.choice(self.joiners).split(), *self._clause(rng)]
            if len(words) + len(more) > MAX_WORDS:
                break
            if rng.random() < 0.5:
                words[-1] += ","
            words += more
        return " ".join(words)

    def _clause(self, rng: random.Random) -> list[str]:
        words: list[str] = []
        for part in rng.choice(self.clauses).split():
            slot = _SLOT.fullmatch(part)
            if slot is None:
                words.append(part)
                continue
            low, high = int(slot[2] or 1), int(slot[3] or 1)
            words += [rng.choice(self.classes[slot[1]]) for _ in range(rng.randint(low, high))]
        return words


def load_grammar(language: str, path: Path = GRAMMARS_PATH) -> Grammar:
    """The grammar of a language.

    Raises:
        ValueError: for an unknown language, listing the known ones, or an ill-formed file.
    """
    blocks = load_yaml(path)
    if language not in blocks:
        known = ", ".join(sorted(blocks))
        raise ValueError(f"language must be one of {known}, got {language!r}")
    return from_mapping(Grammar, blocks[language], f"{path.name}:{language}")


def transcript(sentence: str) -> str:
    """The words of a sentence, without the commas that mark pauses."""
    return sentence.replace(",", "")


def set_of(sentence: str) -> str:
    """The set a sentence belongs to, from a hash of its words: no sentence is in two sets."""
    bucket = zlib.crc32(transcript(sentence).encode()) % 20
    return next(name for name, buckets in _BUCKETS.items() if bucket in buckets)


def sentences(grammar: Grammar, set_name: str, count: int, rng: random.Random) -> list[str]:
    """`count` sentences of a set; those of dev and test are all different.

    Raises:
        ValueError: when the grammar has too few sentences for that.
    """
    found: list[str] = []
    seen: set[str] = set()
    for _ in range(count * 20 + _DRAWS):
        if len(found) == count:
            return found
        sentence = grammar.sentence(rng)
        words = transcript(sentence)
        if set_of(sentence) != set_name or len(words.split()) < MIN_WORDS:
            continue
        if set_name != "train" and words in seen:
            continue
        seen.add(words)
        found.append(sentence)
    raise ValueError(
        f"the grammar has too few sentences for {set_name}: {count} wanted, {len(found)} found"
    )
