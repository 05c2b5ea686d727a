"""Holds out dev and test where a corpus brings one list of utterances."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

SHARE = 0.05  # of the utterances, for dev and for test
MIN_SPEAKERS = 10  # with fewer, utterances are held out, not speakers


class HeldOut(NamedTuple):
    """The sets of utterances, and in words how they were chosen."""

    sets: dict[str, str]  # utterance -> train, dev or test
    how: str


def hold_out(speakers: Mapping[str, str | None], files: Mapping[str, str] | None = None) -> HeldOut:
    """Draws dev and test by a hash of names: the same in every run, on every machine.

    Whole speakers where there are ten or more, so that no voice of dev and test is trained on;
    single utterances otherwise. What shares a file stays together. A speaker (or file) who would
    make a set twice too large is passed over, and a set has a tenth of them at most.

    Args:
        speakers: the speaker of each utterance, None where it is not known.
        files: the audio of each; None: each has its own.

    Raises:
        ValueError: when there are not three groups of utterances to tell apart.
    """
    if len(speakers) < 3:
        raise ValueError(f"train, dev and test need 3 usable utterances or more, {len(speakers)}")
    known = {speaker for speaker in speakers.values() if speaker is not None}
    by_speaker = len(known) >= MIN_SPEAKERS
    groups = _groups(speakers if by_speaker else {}, files or {name: name for name in speakers})
    sizes = Counter(groups.values())
    if len(sizes) < 3:
        raise ValueError(
            "train, dev and test need 3 audio files or more, with speakers of their own where "
            f"these are known, got {len(sizes)}; name the sets in a column split"
        )
    target = max(1, round(SHARE * len(speakers)))
    most_groups = max(1, len(sizes) // 10)  # a few who speak little must not leave train alone
    waiting = sorted(sizes, key=_hash)
    waiting.remove(max(waiting, key=lambda group: sizes[group]))
    set_of: dict[str, str] = {}
    for set_name in ("dev", "test"):
        chosen: list[str] = []
        held = 0
        for group in waiting:
            fits = held + sizes[group] <= 2 * target and len(chosen) < most_groups
            if held < target and fits:
                chosen.append(group)
                held += sizes[group]
        chosen = chosen or [min(waiting, key=lambda group: sizes[group])]
        set_of.update(dict.fromkeys(chosen, set_name))
        waiting = [group for group in waiting if group not in set_of]
    sets = {utterance: set_of.get(group, "train") for utterance, group in groups.items()}
    return HeldOut(sets, _in_words(sets, speakers, by_speaker, len(known)))


def _groups(speakers: Mapping[str, str | None], files: Mapping[str, str]) -> dict[str, str]:
    """The group of each utterance: what is linked by speakers or files is in one."""
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def top(node: tuple[str, str]) -> tuple[str, str]:
        while node in above:
            node = above[node]
        return node

    for utterance, file in files.items():
        speaker = speakers.get(utterance)
        one, other = top(("file", file)), top(("speaker", speaker) if speaker else ("file", file))
        if one != other:
            # The greater name is on top, so that the order of utterances has no effect.
            above[min(one, other)] = max(one, other)
    return {utterance: " ".join(top(("file", file))) for utterance, file in files.items()}


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _in_words(
    sets: Mapping[str, str], speakers: Mapping[str, str | None], by_speaker: bool, known: int
) -> str:
    parts = []
    for set_name in ("dev", "test"):
        held = [utterance for utterance, name in sets.items() if name == set_name]
        part = f"{set_name} {len(held)} of {len(sets)} utterances"
        if by_speaker:
            part += f" ({len({speakers[utterance] for utterance in held} - {None})} speakers)"
        parts.append(part)
    how = "whole speakers" if by_speaker else "single utterances"
    note = "" if by_speaker else "; voices of dev and test may be trained on"
    nobody = sum(speaker is None for speaker in speakers.values())
    if by_speaker and nobody:
        note = f"; {nobody} utterances without a speaker, whose voices may be in several sets"
    return f"held out {how} (speakers known: {known}): {', '.join(parts)}{note}"
