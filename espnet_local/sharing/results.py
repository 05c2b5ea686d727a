"""The rows of one sub-stage in an experiment's `results.tsv`."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_local.config import FRAME_MS, ContextSpec
from espnet_local.decode.plan import decode_folder
from espnet_local.results import RESULTS_NAME
from espnet_local.stamp import STAMP_NAME

log = logging.getLogger(__name__)

Row = dict[str, str]  # the cells by column


def result_rows(folder: Path, substage: str) -> list[Row]:
    """What the experiment's table says of a sub-stage; rows of an earlier model are left out.

    Args:
        folder: `exp/<tag>/stage5b`; the table lies in the folder above.
        substage: its name there.

    Raises:
        ValueError: for a table that is none.
    """
    path = folder.absolute().parent / RESULTS_NAME
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    try:
        own = [row for row in rows if row["substage"] == substage]
        # What is decoded lies in the model's folder, and leaves with it when it is trained again.
        current = [row for row in own if (folder / _decoded(row) / STAMP_NAME).exists()]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a table of results: {error!r}") from None
    if len(current) < len(own):
        log.warning(
            "%s: %d of %d rows of sub-stage %s are of an earlier model; score again",
            path, len(own) - len(current), len(own), substage,
        )  # fmt: skip
    return current


def row_context(row: Mapping[str, str]) -> ContextSpec:
    """The context of a row."""
    full = row["chunk_ms"] == "full"
    return ContextSpec(
        chunk_frames=None if full else int(row["chunk_ms"]) // FRAME_MS,
        left_chunks=None if row["left_chunks"] == "all" else int(row["left_chunks"]),
        sink_frames=int(row["sink_frames"]),
    )


def _decoded(row: Row) -> Path:
    return decode_folder(row_context(row), row["method"], row["decoding"]) / row["dataset"]


def rows_as_tsv(rows: Sequence[Row]) -> str:
    """The rows as they stood, with their head line."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)
