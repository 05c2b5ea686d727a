"""AMI's manual annotations (NXT XML), looked through before lhotse reads them.

    corpusResources/meetings.xml                speakers: letter, global name, headset
    words/<meeting>.<letter>.words.xml          <w starttime endtime [punc] [trunc]>, other sounds
    segments/<meeting>.<letter>.segments.xml    <segment transcriber_start transcriber_end>

lhotse's reader passes over a word without times, one that no segment covers and one of no length,
and a segment without words, without a word; it ends at a word with half of its times, a file that
is no XML, or words without segments; of two speakers with one headset, one gets the words of
both; letters with an accent are left out of their word. Here each of these is a finding, and what
lhotse gets is a copy without them (but for the accents), of the wanted meetings alone.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection
from math import isfinite
from pathlib import Path
from typing import NamedTuple, TypeAlias
from zipfile import BadZipFile, is_zipfile
from zipfile import Path as ZipPath

from espnet_local.cli import one_line

NAMESPACE = "http://nite.sourceforge.net/"
NITE_ID = f"{{{NAMESPACE}}}id"
FOLDERS = ("", "ami_public_manual_1.6.2", "annotations")
ZIPS = ("ami_public_manual*.zip", "annotations/ami_public_manual*.zip")
MEETINGS_FILE = "corpusResources/meetings.xml"
SPEAKER_ATTRIBUTES = (
    "nxt_agent",
    "global_name",
    "channel",
)  # each tells a meeting's speakers apart
# Damaged, encrypted (RuntimeError), or in an encoding that is unknown or of several bytes.
NOT_READABLE = (
    ET.ParseError,
    BadZipFile,
    zlib.error,
    RuntimeError,
    LookupError,
    ValueError,
    OSError,
)

Root: TypeAlias = "Path | ZipPath"


class Finding(NamedTuple):
    """Something in the annotations of a meeting that gives no utterance, or no part of one."""

    meeting: str
    id: str
    reason: str


class _Span(NamedTuple):
    start_s: float
    end_s: float
    element: ET.Element


def find_annotations(folder: Path) -> Root:
    """The annotations in a corpus folder: unpacked at its top or in a folder, or as a zip.

    Raises:
        FileNotFoundError: when there are none.
    """
    roots: list[Root] = [folder / name for name in FOLDERS]
    zips = [path for pattern in ZIPS for path in sorted(folder.glob(pattern))]
    roots += [ZipPath(path) for path in zips if is_zipfile(path)]
    for root in roots:
        if all((root / part).exists() for part in (MEETINGS_FILE, "words/", "segments/")):
            return root
    raise FileNotFoundError(
        2, "no manual annotations (ami_public_manual_1.6.2.zip or its words/, segments/ and "
        "corpusResources/ from groups.inf.ed.ac.uk/ami/download) in", str(folder),
    )  # fmt: skip


def clean_copy(root: Root, target: Path, meetings: Collection[str]) -> list[Finding]:
    """Writes a copy of the annotations of some meetings that lhotse reads without a loss.

    Returns:
        What the copy lacks.

    Raises:
        ValueError: when meetings.xml is not readable.
    """
    ET.register_namespace("nite", NAMESPACE)
    for name in ("corpusResources", "words", "segments"):
        (target / name).mkdir(parents=True)
    findings: list[Finding] = []
    try:
        resources = _parse(root / MEETINGS_FILE)
    except NOT_READABLE as error:
        raise ValueError(f"{root / MEETINGS_FILE}: {one_line(error)}") from None
    kept = ET.Element(resources.tag)
    annotated = set()
    for meeting in resources:
        name = meeting.get("observation", "")
        if name not in meetings:
            continue
        kept.append(meeting)
        taken = Counter((a, speaker.get(a)) for speaker in meeting for a in SPEAKER_ATTRIBUTES)
        for speaker in list(meeting):
            letter = speaker.get("nxt_agent", "?")
            problem = _speaker_problem(speaker, taken)
            problem = problem or _copy(root, target, name, letter, findings)
            if problem:
                findings.append(Finding(name, f"{name}.{letter}", problem))
                meeting.remove(speaker)
            else:
                annotated.add(name)
    findings += [Finding(name, name, "no annotations") for name in set(meetings) - annotated]
    _write(kept, target / MEETINGS_FILE)
    return findings


def _speaker_problem(speaker: ET.Element, taken: Counter[tuple[str, str | None]]) -> str | None:
    for name in SPEAKER_ATTRIBUTES:
        value = speaker.get(name)
        if not value:
            return f"speaker without {name} in {MEETINGS_FILE}"
        if taken[name, value] > 1:
            return f"several speakers with {name} {value} in {MEETINGS_FILE}"
    channel = speaker.get("channel", "")
    return None if channel.isdecimal() else f"speaker's channel must be a number, got {channel!r}"


def _copy(
    root: Root, target: Path, meeting: str, letter: str, findings: list[Finding]
) -> str | None:
    """Copies the words and segments of a speaker; returns what is wrong with all of them."""
    from lhotse.recipes.utils import normalize_text_ami

    names = [f"{kind}/{meeting}.{letter}.{kind}.xml" for kind in ("words", "segments")]
    trees = []
    for name in names:
        if not (root / name).exists():
            return f"no {name}"
        try:
            trees.append(_parse(root / name))
        except NOT_READABLE as error:
            return f"{name} is not readable: {one_line(error)}"
    words, segments = trees
    spoken = []
    for word in _timed(words, "w", ("starttime", "endtime"), meeting, findings):
        # lhotse takes ` . ` for no full stop.
        text = word.element.text = (word.element.text or "").strip()
        reason = None
        if not text:
            reason = "word without text"
        elif word.end_s <= word.start_s and not word.element.get("punc"):
            reason = f"word {text!r} lasts {word.end_s - word.start_s:.2f} s"
        if reason:
            words.remove(word.element)
            findings.append(Finding(meeting, word.element.get(NITE_ID, "?"), reason))
        elif not word.element.get("punc"):
            spoken.append(word)
            written = normalize_text_ami(text, normalize="kaldi")
            if not written or any(c.isalnum() and not c.isascii() for c in text):
                reason = f"word {text!r} is written {written!r}"
                findings.append(Finding(meeting, word.element.get(NITE_ID, "?"), reason))
    times = ("transcriber_start", "transcriber_end")
    covered: set[int] = set()
    spoken.sort(key=lambda word: word.start_s)
    starts = [word.start_s for word in spoken]
    for segment in _timed(segments, "segment", times, meeting, findings):
        first = bisect_left(starts, segment.start_s)
        last = bisect_left(starts, segment.end_s)
        inside = [i for i in range(first, last) if spoken[i].end_s <= segment.end_s]
        covered.update(inside)
        if not inside:
            segments.remove(segment.element)
            name = segment.element.get(NITE_ID, "?")
            findings.append(Finding(meeting, name, "segment without words"))
    for place, word in enumerate(spoken):
        if place not in covered:
            reason = f"word {word.element.text!r} lies in no segment"
            findings.append(Finding(meeting, word.element.get(NITE_ID, "?"), reason))
    for name, tree in zip(names, trees):
        _write(tree, target / name)
    return None


def _timed(
    tree: ET.Element, tag: str, attributes: tuple[str, str], meeting: str, findings: list[Finding]
) -> list[_Span]:
    """The elements of a tag with their times; those without are removed and found."""
    spans = []
    for element in tree.findall(tag):
        try:
            start_s, end_s = (float(element.get(name, "")) for name in attributes)
            if not (isfinite(start_s) and isfinite(end_s)):
                raise ValueError
        except ValueError:
            text = f" {element.text!r}" if tag == "w" else ""
            what = f"{'word' if tag == 'w' else tag}{text} without {' and '.join(attributes)}"
            findings.append(Finding(meeting, element.get(NITE_ID, "?"), what))
            tree.remove(element)
        else:
            spans.append(_Span(start_s, end_s, element))
    return spans


def _parse(path: Root) -> ET.Element:
    return ET.fromstring(path.read_bytes())


def _write(tree: ET.Element, path: Path) -> None:
    # lhotse opens the files as text of the locale, whatever encoding they declare.
    path.write_bytes(ET.tostring(tree, encoding="us-ascii"))
