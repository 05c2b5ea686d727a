"""Mozilla Common Voice, of any release: one language's TSVs and clips.

    <release>/<language>/{train,dev,test,validated}.tsv    client_id, path, sentence, ...
    <release>/<language>/clips/*.mp3

lhotse's recipe is not called: it needs columns that releases before 8 lack (`accents`, `variant`),
ends at the first clip that is unreadable, and drops missing ones without a word. Ids, sentences and
spans are those it gives where it serves (a test compares them).

The speaker is the head of client_id: 16 of 128 hexadecimal digits tell millions of speakers apart.
A client_id of another form is hashed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from espnet_local.config import nearest
from espnet_local.files import fingerprint
from local.corpora.cutting import Listed, Segment, SegmentCorpus, listed
from local.corpora.cv_archive import SUFFIXES, check_archive, extract
from local.corpora.cv_tables import Row, check_row, check_table, rows
from local.corpora.text_rules import DEFAULT, RULES_PATH, TextRule, load_rule
from local.corpora.utterance import SETS, Exclusion, LeftOut

log = logging.getLogger(__name__)
VERSION = 2  # raise it when the result changes with unchanged input
TRAINS = ("train", "validated")
SPEAKER_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class CommonVoiceCorpus(SegmentCorpus):
    """One language of a release with its options.

    Args:
        source: <release>/<language>, <release>, or the tar of a language.
        language: as in the release: `et`, `sv-SE`.
        train: the TSV of the train set; `validated` takes what has no clip, speaker or transcript
            of dev and test.
        own_area: a folder of ours, where a tar is taken out.

    Raises:
        FileNotFoundError: when the corpus or one of its TSVs is missing.
        ValueError: for another language, a TSV of other columns or an unknown `train`.
    """

    source: Path
    language: str
    train: str
    own_area: Path
    debug: bool = False

    def __post_init__(self) -> None:
        if self.train not in TRAINS:
            raise ValueError(
                f"cv_train must be one of {', '.join(TRAINS)}, "
                f"got {self.train!r}{nearest(self.train, TRAINS)}"
            )
        if self._tar:
            check_archive(self.source, self.language)
            return
        for table in self._tables.values():
            check_table(self._folder / f"{table}.tsv", self.language)
        if not (self._folder / "clips").is_dir():
            raise FileNotFoundError(2, "no such folder", str(self._folder / "clips"))

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on; of the clips only which there are."""
        paths = [self.source]
        if not self._tar:
            tables = [self._folder / f"{table}.tsv" for table in self._tables.values()]
            paths = [*tables, self._folder / "clips"]
        dates = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
        return {
            "corpus": "commonvoice",
            "version": VERSION,
            "debug": self.debug,
            "language": self.language,
            "train": self.train,
            "source": fingerprint(dates, [RULES_PATH]),
        }

    def listed(self, set_name: str) -> Listed:
        """What is excluded before audio is read, and the rest."""
        return self._prepared[set_name]

    @property
    def _tar(self) -> bool:
        return self.source.is_file()

    @property
    def _tables(self) -> dict[str, str]:
        return {"train": self.train, "dev": "dev", "test": "test"}

    @cached_property
    def _folder(self) -> Path:
        """The folder with the TSVs."""
        if self._tar:
            return self.own_area / "release"
        if not self.source.is_dir():
            raise FileNotFoundError(
                2, f"corpus_dir is no folder and no {' or '.join(SUFFIXES)}", str(self.source)
            )
        for folder in (self.source, self.source / self.language):
            if (folder / "train.tsv").exists():
                return folder
        languages = sorted(path.parent.name for path in self.source.glob("*/train.tsv"))
        there = f"; it has {', '.join(languages)}" if languages else ""
        raise FileNotFoundError(
            2, f"corpus_dir has no train.tsv and no {self.language}/train.tsv{there}",
            str(self.source),
        )  # fmt: skip

    @cached_property
    def _prepared(self) -> dict[str, Listed]:
        """What the TSVs already exclude, and the rest, by set, with its clips in their place."""
        if self._tar:
            extract(
                self.source,
                self._folder,
                language=self.language,
                tables=tuple(self._tables.values()),
                clips=lambda: {
                    Path(s.audio).name for _, chosen in self._sets.values() for s in chosen
                },
                chosen_by=fingerprint(self.identity()),
            )
        return self._sets

    @cached_property
    def _sets(self) -> dict[str, Listed]:
        rule, own = load_rule(self.language)
        if not own:
            log.warning(
                "no text rule for the language %r: taking %r of %s, which keeps letters and "
                "digits of any script", self.language, DEFAULT, RULES_PATH.name,
            )  # fmt: skip
        held = _Held()
        sets = {}
        # train comes last: it depends on what the others hold.
        for set_name in reversed(SETS):
            path = self._folder / f"{self._tables[set_name]}.tsv"
            check_table(path, self.language)
            items = self._items(set_name, path, rule, held)
            sets[set_name] = listed(items, set_name, self.debug)
        return sets

    def _items(
        self, set_name: str, path: Path, rule: TextRule, held: _Held
    ) -> Iterator[Segment | Exclusion]:
        """The rows of a TSV; those of dev and test are held."""
        seen: set[str] = set()
        for row in rows(path):
            try:
                check_row(row, seen)
                held.refuse("clip", row.clip)
                if self._tables[set_name] == "validated":
                    held.refuse("speaker", row.client_id)
                    held.refuse("sentence", _sentence_key(rule, row.sentence))
                if set_name != "train":
                    held.add(set_name, row, _sentence_key(rule, row.sentence))
                text = rule.transcript(row.sentence)
                if not text:
                    raise LeftOut("empty transcript")
            except LeftOut as left:
                yield Exclusion(id=row.utterance, reason=str(left))
                continue
            yield Segment(
                id=row.utterance,
                speaker=_speaker(row.client_id),
                text=text,
                audio=str(self._folder / "clips" / row.clip),
            )


class _Held:
    """What dev and test hold: clips, speakers and sentences."""

    def __init__(self) -> None:
        self._holders: dict[tuple[str, str], str] = {}

    def add(self, set_name: str, row: Row, sentence: str) -> None:
        keys = (("clip", row.clip), ("speaker", row.client_id), ("sentence", sentence))
        for key in keys:
            self._holders.setdefault(key, set_name)

    def refuse(self, kind: str, name: str) -> None:
        if holder := self._holders.get((kind, name)) if name else None:
            raise LeftOut(f"its {kind} is in {holder}")


def _sentence_key(rule: TextRule, sentence: str) -> str:
    """What sentences that are read alike have in common."""
    try:
        return rule.transcript(sentence)
    except LeftOut:
        text = unicodedata.normalize("NFC", sentence).casefold()
        return " ".join("".join(c if c.isalnum() else " " for c in text).split())


def _speaker(client_id: str) -> str:
    if not re.fullmatch(f"[0-9a-f]{{{2 * SPEAKER_DIGITS},}}", client_id):
        client_id = hashlib.sha256(client_id.encode()).hexdigest()
    return client_id[:SPEAKER_DIGITS]
