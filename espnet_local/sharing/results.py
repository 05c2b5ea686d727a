"""The rows of one model in an experiment's `results.tsv`."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_local.config import BEST_CHECKPOINT, FRAME_MS, ContextSpec
from espnet_local.files import fingerprint
from espnet_local.results import KEY_COLUMNS, RESULTS_NAME

log = logging.getLogger(__name__)

Row = dict[str, str]  # the cells by column
_TOLD = (*KEY_COLUMNS, "wrd", "err", "s_err")  # what a card needs of a row


def result_rows(folder: Path, substage: str) -> list[Row]:
    """What the experiment's table says of the weights in a sub-stage's folder.

    Rows of other weights are left out, and of a folder that is not the sub-stage's own, such as
    `stage5b.replaced1`, all are; a warning says so.

    Args:
        folder: `exp/<tag>/stage5b`; the table lies in the folder above.
        substage: its name there.

    Raises:
        ValueError: for a table that is none, naming it.
    """
    folder = folder.absolute()
    path = folder.parent / RESULTS_NAME
    if not path.exists():
        return []
    if folder.name != f"stage{substage}":
        log.warning(
            "%s is not named stage%s: its word error rates are not known, %s is of others",
            folder, substage, path,
        )  # fmt: skip
        return []
    own = [row for row in _read(path) if row["substage"] == substage]
    weights = fingerprint(files=[folder / BEST_CHECKPOINT]) if own else None
    current = [row for row in own if row.get("model") == weights]
    if len(current) < len(own):
        log.warning(
            "%s: %d of %d rows of sub-stage %s are of an earlier model or do not name theirs, "
            "and are left out; decode and score again, after removing decodings that name none",
            path, len(own) - len(current), len(own), substage,
        )  # fmt: skip
    return current


def _read(path: Path) -> list[Row]:
    """All rows, each known to hold what a card tells."""
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        head = next(reader, [])
        rows = []
        for cells in reader:
            if len(cells) != len(head):
                raise ValueError(
                    f"{path}:{reader.line_num}: must have {len(head)} cells, got {len(cells)}"
                )
            row = dict(zip(head, cells))
            try:
                row_context(row)
                for name in _TOLD:
                    row[name]
            except (KeyError, ValueError) as error:
                raise ValueError(f"{path}: not a table of results: {error!r}") from None
            rows.append(row)
    return rows


def row_context(row: Mapping[str, str]) -> ContextSpec:
    """The context of a row."""
    full = row["chunk_ms"] == "full"
    return ContextSpec(
        chunk_frames=None if full else int(row["chunk_ms"]) // FRAME_MS,
        left_chunks=None if row["left_chunks"] == "all" else int(row["left_chunks"]),
        sink_frames=int(row["sink_frames"]),
    )


def rows_as_tsv(rows: Sequence[Row]) -> str:
    """The rows as they stood, with their head line."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)
