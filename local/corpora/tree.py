"""The files below a folder, also behind symbolic links: corpora are often linked together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted within each folder; no folder is looked into twice."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def dated(path: str | Path) -> list[int] | None:
    """Size and date of a file, by which a change shows; None when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: no name of a file at all
        return None
    return [status.st_size, status.st_mtime_ns]
