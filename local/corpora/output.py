"""The output folder of a corpus: ours or not, locked, and its sets swapped in when complete.

    <folder>/.corpus.json   marks the folder as made by this program, and from what corpus
    <folder>/.partial/      sets in the making
    <folder>/.done.json     the stamp, written last

Other content, such as token_list/, is left alone.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet_local.files import write_text

MARKER_NAME = ".corpus.json"
PARTIAL_NAME = ".partial"
_ALLOWED_BESIDE = {MARKER_NAME, "token_list"}  # what a folder may hold before it is ours


@contextmanager
def claimed(folder: Path, corpus: str) -> Iterator[None]:
    """Claims an output folder for a corpus, alone, for the length of the block.

    Raises:
        ValueError: as `check_claim`, and when another run is writing the folder.
    """
    check_claim(folder, corpus)
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / MARKER_NAME
    if not marker.exists():
        write_text(marker, json.dumps({"corpus": corpus, "made_by": "local.corpora"}) + "\n")
    with marker.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another run is writing this folder") from None
        yield


def check_claim(folder: Path, corpus: str) -> None:
    """Checks that a folder may be claimed for a corpus, such as `mini` or `kaldi:/data/ami`.

    Raises:
        ValueError: when it holds files that this program did not make, or another corpus.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"output {folder} must be a folder, it is a file")
    marker = folder / MARKER_NAME
    if marker.exists():
        owner = _owner(marker)
        # Folders of earlier versions do not tell which Kaldi folder they were made from.
        if owner not in (corpus, corpus.partition(":")[0]):
            advice = (
                f"; link yours under another name (ln -s), or move {folder} away"
                if ":/" in corpus
                else ""
            )
            raise ValueError(f"{folder} holds the corpus {owner!r}, not {corpus!r}{advice}")
        return
    foreign = sorted({entry.name for entry in folder.iterdir()} - _ALLOWED_BESIDE)
    if foreign:
        raise ValueError(
            f"{folder} holds files that were not made here ({foreign[0]}); "
            "name another --output or move them away"
        )


def _owner(marker: Path) -> str | None:
    try:
        claim = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError:
        claim = None
    if not isinstance(claim, dict):
        raise ValueError(f"{marker} is not readable; delete it if the folder is yours")
    return claim.get("corpus")


def begin_partial(folder: Path) -> Path:
    """An empty folder for sets in the making; what a killed run left there goes."""
    partial = folder / PARTIAL_NAME
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    return partial


def swap_in(folder: Path, set_names: Iterable[str]) -> None:
    """Puts the finished sets in the place of the old ones; call it with the stamp cleared."""
    partial = folder / PARTIAL_NAME
    for name in set_names:
        if (folder / name).exists():
            (folder / name).rename(partial / f"{name}.old")
        (partial / name).rename(folder / name)
    shutil.rmtree(partial)
