"""Sub-stages whose parent was trained again since: their results do not belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from espnet_local.cli import recipe_call
from espnet_local.stamp import read_stamp


def stale_lines(substages: Mapping[str, Path]) -> list[str]:
    """One line a finished sub-stage that descends from another parent than the one that is there.

    Args:
        substages: folders of finished sub-stages by name.
    """
    lines = []
    for name, folder in substages.items():
        stamp = read_stamp(folder) or {}
        parent, wanted = stamp.get("parent"), stamp.get("parent_fingerprint")
        if wanted is None:
            continue  # it has none, or was trained before stamps told
        there = read_stamp(folder.parent / f"stage{parent}") or {}
        if there.get("fingerprint") != wanted:
            lines.append(
                f"sub-stage {name} descends from a sub-stage {parent} (fingerprint {wanted}) that "
                f"is no longer there (now {there.get('fingerprint', 'none')}): train it and what "
                f"follows again with {recipe_call()} --stage {name[0]}"
            )
    return lines
