"""Word error rate: counts of a test set, and `.trn` files for sclite.

Alignment by kaldialign, fewest errors. sclite weighs a substitution 4 to an insertion's or
deletion's 3, and may so count a few errors more; the `.trn` files let it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import kaldialign

from espnet_local.files import atomic_open


@dataclass(frozen=True, kw_only=True, slots=True)
class WordErrors:
    """Counts over a set, and percentages as in sclite's summary: of the reference's words."""

    sentences: int
    wrong_sentences: int
    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def correct(self) -> int:
        """Words recognised as they are."""
        return self.words - self.substitutions - self.deletions

    @property
    def errors(self) -> int:
        """Words substituted, deleted and inserted."""
        return self.substitutions + self.deletions + self.insertions

    def percent(self, count: int) -> float:
        """`count` in % of the reference's words."""
        return 100.0 * count / self.words

    @property
    def sentence_error_percent(self) -> float:
        """Sentences with an error, in % of all."""
        return 100.0 * self.wrong_sentences / self.sentences


def count_errors(reference: Mapping[str, str], hypothesis: Mapping[str, str]) -> WordErrors:
    """Compares two tables of transcripts by utterance.

    Raises:
        ValueError: when the utterances differ, or the reference has no word.
    """
    for here, there, name in (
        (reference, hypothesis, "missing from the hypotheses"),
        (hypothesis, reference, "not in the reference"),
    ):
        if surplus := sorted(here.keys() - there.keys()):
            raise ValueError(f"{len(surplus)} utterances {name}, first {surplus[0]}")
    counts = dict.fromkeys(("sub", "del", "ins"), 0)
    words = wrong = 0
    for utterance, transcript in reference.items():
        spoken = transcript.split()
        result = kaldialign.edit_distance(spoken, hypothesis[utterance].split())
        words += len(spoken)
        wrong += result["total"] > 0
        for kind in counts:
            counts[kind] += int(result[kind])
    if not words:
        raise ValueError(f"the reference has no words in its {len(reference)} utterances")
    return WordErrors(
        sentences=len(reference),
        wrong_sentences=wrong,
        words=words,
        substitutions=counts["sub"],
        deletions=counts["del"],
        insertions=counts["ins"],
    )


def write_trn(path: Path, transcripts: Mapping[str, str], speakers: Mapping[str, str]) -> None:
    """Writes `<words> (<speaker>-<utterance>)` lines for sclite.

    Raises:
        ValueError: naming an utterance without a speaker.
    """
    with atomic_open(path) as stream:
        for utterance in sorted(transcripts):
            if utterance not in speakers:
                raise ValueError(f"{path}: no speaker for utterance {utterance}")
            identity = f"({speakers[utterance]}-{utterance})"
            stream.write(f"{transcripts[utterance]} {identity}".lstrip() + "\n")
