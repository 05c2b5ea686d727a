"""A folder of lhotse manifests: which parts it holds, and which are train, dev and test.

    <prefix>_recordings_<part>.jsonl.gz + <prefix>_supervisions_<part>.jsonl.gz

as lhotse's recipes write them; `_<part>` may be missing, and so may `.gz`. A part is named by what
stands for <part>; where a folder holds manifests of several prefixes, by <prefix>_<part>.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_local.config import nearest
from local.corpora.tree import files_below
from local.corpora.utterance import SETS

NOT_READABLE = (
    EOFError,
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    gzip.BadGzipFile,
    zlib.error,
)
COMMON_NAMES = {
    "train": ("train",),
    "dev": ("dev", "valid", "validation", "devel"),
    "test": ("test", "eval"),
}
_NAME = re.compile(
    r"(?:(?P<prefix>.+)_)?(?P<kind>recordings|supervisions)(?:_(?P<part>.+?))?\.jsonl(?:\.gz)?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The two manifests of a part."""

    recordings: Path
    supervisions: Path


def find_parts(folder: Path) -> dict[str, Part]:
    """The parts of a folder by name, sorted.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when it holds no pair of manifests, or two of one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder of lhotse manifests", str(folder))
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in files_below(folder):
        if name := _NAME.fullmatch(path.name):
            key = (name["prefix"] or "", name["part"] or "")
            taken = found.setdefault(key, {}).setdefault(name["kind"], path)
            if taken != path:
                raise ValueError(f"{taken} and {path} are the same part: name a folder with one")
    pairs = {key: Part(**paths) for key, paths in found.items() if len(paths) == 2}
    if not pairs:
        raise ValueError(
            f"{folder} holds no <prefix>_recordings_<part>.jsonl.gz with its "
            "<prefix>_supervisions_<part>.jsonl.gz"
        )
    one_prefix = len({prefix for prefix, _ in pairs}) == 1
    return {
        (part or prefix) if one_prefix else "_".join(filter(None, (prefix, part))): pair
        for (prefix, part), pair in sorted(pairs.items())
    }


def audio_files(part: Part) -> Iterator[str]:
    """The audio files that a part names, as far as its recordings are readable."""
    is_packed = part.recordings.suffix == ".gz"
    with gzip.open(part.recordings) if is_packed else part.recordings.open("rb") as lines:
        try:
            for line in lines:
                for source in json.loads(line)["sources"]:
                    if source["type"] == "file":
                        yield str(source["source"])
        except NOT_READABLE:
            return  # reading the corpus says what is wrong


def parse_parts(option: str) -> dict[str, tuple[str, ...]]:
    """`train=a+b,dev=c` as parts by set.

    Raises:
        ValueError: for another form, an unknown set, or a set or a part that is named twice.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for assignment in option.split(","):
        set_name, _, names = assignment.partition("=")
        parts = tuple(names.split("+"))
        if not all(parts):
            raise ValueError(
                f"parts must be <set>=<part>[+<part>...],..., such as train=train-clean-100"
                f"+train-clean-360,dev=dev-clean,test=test-clean, got {option!r}"
            )
        if set_name not in SETS:
            raise ValueError(
                f"parts: sets are {', '.join(SETS)}, got {set_name!r}{nearest(set_name, SETS)}"
            )
        if set_name in chosen:
            raise ValueError(f"parts: {set_name} stands twice in {option!r}")
        chosen[set_name] = parts
    named = [part for parts in chosen.values() for part in parts]
    if twice := sorted({part for part in named if named.count(part) > 1}):
        raise ValueError(f"parts: {twice[0]!r} cannot be used twice, got {option!r}")
    return chosen


def choose_parts(
    there: Mapping[str, Part], stated: Mapping[str, tuple[str, ...]], folder: Path
) -> dict[str, tuple[str, ...]]:
    """The parts of each set: those that are stated, else the one with a common name.

    Raises:
        ValueError: listing the parts there are, when one is unknown, missing or ambiguous, or
            when a part would be in two sets.
    """
    listed = f"{folder} has the parts {', '.join(there)}"
    chosen = {}
    for set_name in SETS:
        parts = stated.get(set_name)
        if parts is None:
            parts = tuple(name for name in there if name.lower() in COMMON_NAMES[set_name])
            if len(parts) != 1:
                fault = f"{' and '.join(parts)} are both" if parts else "none is"
                raise ValueError(
                    f"{listed}: {fault} the {set_name} set by name; say which with "
                    f"--parts {set_name}=..."
                )
        for part in parts:
            if part not in there:
                raise ValueError(f"{listed}, no {part!r}{nearest(part, there)}")
        chosen[set_name] = parts
    for part in there:
        holders = [set_name for set_name in SETS if part in chosen[set_name]]
        if len(holders) > 1:
            raise ValueError(f"{listed}: {part!r} would be in {' and '.join(holders)}")
    return chosen
