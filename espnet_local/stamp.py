"""Stamps: the marker that a step is finished, with the fingerprint of what it was made from.

A step is skipped because its inputs have not changed, not because an output exists. The stamp is
written last and atomically, so a step that was killed has none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from espnet_local.files import write_text

STAMP_NAME = ".done.json"


def read_stamp(folder: str | Path) -> dict[str, Any] | None:
    """The stamp of `folder`, with its `fingerprint`, or None when the step is not finished.

    A stamp that cannot be read is none: the step is done again.
    """
    path = Path(folder) / STAMP_NAME
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def is_done(folder: str | Path, fingerprint: str) -> bool:
    """Whether the step in `folder` was finished with inputs of this fingerprint."""
    stamp = read_stamp(folder)
    return stamp is not None and stamp.get("fingerprint") == fingerprint


def clear_stamp(folder: str | Path) -> None:
    """Declares the step in `folder` unfinished; call it before touching its outputs."""
    (Path(folder) / STAMP_NAME).unlink(missing_ok=True)


def write_stamp(folder: str | Path, fingerprint: str, **notes: Any) -> None:
    """Declares the step in `folder` finished, with notes for the reader (counts, sources)."""
    value = {"fingerprint": fingerprint, **notes}
    write_text(Path(folder) / STAMP_NAME, json.dumps(value, indent=2, sort_keys=True) + "\n")
