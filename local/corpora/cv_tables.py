"""The TSVs of Common Voice: columns differ between releases, three are in all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from local.corpora.utterance import LeftOut

COLUMNS = ("client_id", "path", "sentence")


class Row(NamedTuple):
    """A line of a TSV."""

    number: int  # its line
    client_id: str
    clip: str  # a name in clips/
    sentence: str

    @property
    def utterance(self) -> str:
        """The id: the clip's name without its suffix."""
        return Path(self.clip).stem or f"line-{self.number}"


def check_row(row: Row, seen: set[str]) -> None:
    """Checks the fields of a row.

    Raises:
        LeftOut: saying why it cannot be used.
    """
    if not row.clip or row.clip != Path(row.clip).name or row.utterance.split() != [row.utterance]:
        raise LeftOut(f"line {row.number}: path must be a file's name, got {row.clip!r}")
    if row.utterance in seen:
        raise LeftOut(f"a second row of this id, at line {row.number}")
    seen.add(row.utterance)
    if not row.client_id:
        raise LeftOut("no client_id")


def _lines(path: Path) -> Iterator[dict[str, str]]:
    """The lines of a TSV by column, the names of the columns first; a missing field is empty.

    Quotes mean nothing: those of sentences are not balanced.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as stream:
        names = stream.readline().rstrip("\r\n").split("\t")
        yield {name: name for name in names}
        for line in stream:
            fields = line.rstrip("\r\n").split("\t")
            yield dict(zip_longest(names, fields[: len(names)], fillvalue=""))


def rows(path: Path) -> Iterator[Row]:
    """The lines of a TSV below its head."""
    for number, fields in enumerate(islice(_lines(path), 1, None), 2):
        client_id, clip, sentence = (fields[name].strip() for name in COLUMNS)
        if clip and not Path(clip).suffix:
            clip += ".mp3"  # the first releases leave it out
        yield Row(number, "_".join(client_id.split()), clip, sentence)


def check_table(path: Path, language: str) -> None:
    """Checks columns and language by the first lines of a TSV.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for one of other columns or of another language.
    """
    names, *first = islice(_lines(path), 2)
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}, lacks {missing[0]}")
    locale = first[0].get("locale") if first else None
    if locale and locale != language:
        raise ValueError(f"{path} is of the language {locale!r}, --lang says {language!r}")
