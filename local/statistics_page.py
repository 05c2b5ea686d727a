"""The statistics of a corpus as a page in Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from local.corpus_statistics import PICTURE_NAME, SetStatistics

LISTED_CHARACTERS = 200
LISTED_WORDS = 10
JOINERS = "\u200c\u200d"  # spelling, within a word


def page(corpus: str, sets: Sequence[SetStatistics], tokens: str, vocabulary: int) -> str:
    """The page.

    Args:
        corpus: its name.
        sets: train first.
        tokens: the folder of the tokens that were counted.
        vocabulary: how many tokens there are.
    """
    parts = [
        f"# {corpus}",
        f"Counted with the {vocabulary} tokens of `{tokens}`.",
        _table(["", *(found.name for found in sets)], _numbers(sets)),
        f"![Lengths of utterances]({PICTURE_NAME})",
        "## Left out",
        _left_out(sets),
        "## Words that train lacks",
        _foreign_words(sets),
        "## Characters",
        *_characters(sets),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table with its first columns set left, the others right."""
    lines = [head, ["---" if number < left else "--:" for number in range(len(head))], *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def _numbers(sets: Sequence[SetStatistics]) -> list[list[str]]:
    def row(name: str, cells: Iterable[str]) -> list[str]:
        return [name, *cells]

    return [
        row("hours", (f"{found.seconds / 3600:.2f}" for found in sets)),
        row("utterances", (str(found.utterances) for found in sets)),
        row("speakers", (str(found.speakers) for found in sets)),
        row("words", (str(found.words.total()) for found in sets)),
        row("different words", (str(len(found.words)) for found in sets)),
        row("tokens", (str(found.tokens) for found in sets)),
        row("tokens unknown to the model", (str(found.unknown_tokens) for found in sets)),
        row("tokens a second", (f"{found.tokens / found.seconds:.1f}" for found in sets)),
        row("length: mean", (f"{found.seconds / found.utterances:.2f} s" for found in sets)),
        *(
            row(f"length: {name}", (f"{found.length_s(percent):.2f} s" for found in sets))
            for name, percent in (
                ("shortest", 0),
                ("5th percentile", 5),
                ("median", 50),
                ("95th percentile", 95),
                ("longest", 100),
            )
        ),
    ]


def _left_out(sets: Sequence[SetStatistics]) -> str:
    rows = [
        [found.name, str(group.count), group.example]
        for found in sets
        for group in sorted(found.excluded.values(), key=lambda group: -group.count)
    ]
    if not rows:
        return "Nothing."
    return _table(["set", "utterances", "for example"], rows, left=3)


def _foreign_words(sets: Sequence[SetStatistics]) -> str:
    train, others = sets[0], sets[1:]
    rows = []
    for found in others:
        foreign = Counter({w: n for w, n in found.words.items() if w not in train.words})
        share = 100 * foreign.total() / found.words.total() if found.words else 0.0
        rows.append(
            [found.name, f"{foreign.total()} ({share:.2f} %)", str(len(foreign)), _listed(foreign)]
        )
    return _table(["set", "words", "different words", "the commonest"], rows)


def _listed(counts: Counter[str]) -> str:
    commonest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED_WORDS]
    return ", ".join(f"{_shown(word)} ({count})" for word, count in commonest)


def _shown(text: str) -> str:
    """A word or character as Markdown; by code point what is not seen, or lacks a letter below."""
    parts = []
    for number, character in enumerate(text):
        category = unicodedata.category(character)
        is_bare_mark = number == 0 and category[0] == "M"
        if is_bare_mark or (category[0] in "CZ" and (len(text) == 1 or character not in JOINERS)):
            character = f"<U+{ord(character):04X}>"
        parts.append(character)
    return re.sub(r"[\\`*_<>\[\]#~&]", lambda found: "\\" + found[0], "".join(parts))


def _characters(sets: Sequence[SetStatistics]) -> list[str]:
    train = sets[0].characters
    lines = []
    for found in sets[1:]:
        foreign = sorted(found.characters.keys() - train.keys())
        listed = ", ".join(
            f"{_shown(c)} (U+{ord(c):04X}, {found.characters[c]} times)" for c in foreign
        )
        lines.append(f"* {found.name} has of its own: {listed or 'none'}")
    total: Counter[str] = sum((found.characters for found in sets), Counter())
    commonest = sorted(total, key=lambda c: (-total[c], c))
    rows = [
        [_shown(c), f"U+{ord(c):04X}", *(str(found.characters[c]) for found in sets)]
        for c in commonest[:LISTED_CHARACTERS]
    ]
    parts = ["\n".join(lines), _table(["", "", *(found.name for found in sets)], rows, left=2)]
    if (more := len(commonest) - len(rows)) > 0:
        parts.append(f"And {more} more.")
    return parts
