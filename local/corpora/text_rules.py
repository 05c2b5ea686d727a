"""Transcripts from written sentences, by rules for each language (`text_rules.yaml`)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from espnet_local.config import from_mapping, load_yaml
from local.corpora.utterance import LeftOut

RULES_PATH = Path(__file__).with_name("text_rules.yaml")
DEFAULT = "default"
APOSTROPHE = "'"
NON_JOINER, JOINER = "\u200c", "\u200d"  # spelling in Persian and in scripts of India
SPOKEN = frozenset("#%&*/@\\§‰")  # punctuation to Unicode, words to a reader


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRule:
    """One language's block of `text_rules.yaml`.

    Raises:
        ValueError: for a letter of the alphabet that `case` never produces, or one that is a space.
    """

    case: Literal["lower", "upper", "keep"]
    alphabet: str | None = None  # None: letters, marks and digits of any script
    replace: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for letter in self.alphabet or "":
            if letter.isspace() or self._cased(letter) != letter:
                raise ValueError(f"alphabet must be {self.case} case without spaces: {letter!r}")

    def transcript(self, sentence: str) -> str:
        """The words of a sentence, separated by single spaces; empty when it has none.

        Raises:
            LeftOut: naming the first character that is neither in the alphabet nor punctuation: how
                it was spoken is not known.
        """
        text = unicodedata.normalize("NFC", sentence)
        text = self._cased("".join(self.replace.get(letter, letter) for letter in text))
        # What was replaced may have stood between a letter and its mark.
        text = unicodedata.normalize("NFC", text)
        text = "".join(map(self._letter, text))
        text = re.sub(rf"(?<!\w){APOSTROPHE}|{APOSTROPHE}(?!\w)", "", text)
        return " ".join(filter(None, (word.strip(NON_JOINER) for word in text.split())))

    def _cased(self, text: str) -> str:
        if self.case == "keep":
            return text
        return text.lower() if self.case == "lower" else text.upper()

    def _letter(self, letter: str) -> str:
        category = unicodedata.category(letter)
        if self.alphabet is None:
            known = category[0] in "LMN" or letter in (APOSTROPHE, NON_JOINER, JOINER)
        else:
            known = letter in self.alphabet
        if known:
            return letter
        if letter.isspace() or (category[0] in "PZ" and letter not in SPOKEN):
            return " "
        raise LeftOut(f"character {letter!r} (U+{ord(letter):04X}) outside the alphabet")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rules:
    everywhere: dict[str, str]
    languages: dict[str, TextRule]


def load_rule(language: str, path: Path = RULES_PATH) -> tuple[TextRule, bool]:
    """The rule of a language, and whether it is its own (else it is the default one).

    Raises:
        ValueError: for an ill-formed file.
    """
    rules = from_mapping(_Rules, load_yaml(path), path.name)
    if DEFAULT not in rules.languages:
        raise ValueError(f"{path.name}: languages must have {DEFAULT!r}")
    own = rules.languages.get(language)
    rule = own or rules.languages[DEFAULT]
    replace = {**rules.everywhere, **rule.replace}
    return TextRule(case=rule.case, alphabet=rule.alphabet, replace=replace), own is not None
