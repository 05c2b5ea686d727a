"""The files of a decoded set, and joining shards into one. No torch here.

text     <utterance> <words>
token    <utterance> <pieces, blanks between them>
timing   <utterance> <seconds at which each piece was emitted: its frame's number x 20 ms>

Of a streamed set also, and in its stamp the cost of streaming:
emission <utterance> <seconds of audio received when each piece stood in the result, to stay>
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from espnet_local.config import HOP_SAMPLES, SAMPLE_RATE, from_mapping, to_mapping
from espnet_local.decode.hypothesis import Labels
from espnet_local.decode.plan import DecodeTask, Decoding, Shard
from espnet_local.files import read_table, write_table
from espnet_local.metrics import StreamCost
from espnet_local.stamp import clear_stamp, read_stamp, write_stamp

TABLES: dict[Decoding, tuple[str, ...]] = {
    "masked": ("text", "token", "timing"),
    "streaming": ("text", "token", "timing", "emission"),
}


class Pieces(Protocol):
    """What is asked of a tokenizer."""

    tokens: Any  # pieces by label

    def decode(self, ids: list[int]) -> str:
        """Labels to words."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Tables by utterance, under the names of their files."""

    tables: dict[str, dict[str, str]]
    cost: StreamCost | None = None  # of a streamed set

    @classmethod
    def of(cls, hypotheses: Mapping[str, Labels], tokenizer: Pieces) -> Outputs:
        """The tables of decoded utterances."""
        items = hypotheses.items()

        def seconds(labels: Labels) -> str:
            return " ".join(f"{t * HOP_SAMPLES / SAMPLE_RATE:.2f}" for t in labels.timestamps)

        return cls(
            {
                "text": {u: tokenizer.decode(list(h.tokens)) for u, h in items},
                "token": {u: " ".join(tokenizer.tokens[i] for i in h.tokens) for u, h in items},
                "timing": {u: seconds(h) for u, h in items},
            }
        )


def write_outputs(folder: Path, outputs: Outputs, fingerprint: str, **notes: Any) -> None:
    """Writes the tables, and the stamp last."""
    clear_stamp(folder)
    for name, table in outputs.tables.items():
        write_table(folder / name, table)
    if outputs.cost is not None:
        notes["cost"] = to_mapping(outputs.cost)
    write_stamp(folder, fingerprint, utterances=len(outputs.tables["text"]), **notes)


def merge_shards(task: DecodeTask, count: int) -> None:
    """Joins the shards of a task into the final tables, and removes them.

    Raises:
        ValueError: when a shard is missing or older than its inputs.
    """
    names = TABLES[task.decoding]
    tables: dict[str, dict[str, str]] = {name: {} for name in names}
    costs = []
    for index in range(1, count + 1):
        shard = Shard(index, count)
        folder = task.shard_folder(shard)
        if not task.is_shard_done(shard):
            raise ValueError(
                f"{folder}: not decoded, or from other inputs; decode with --shard {index}/{count}"
            )
        for name in names:
            tables[name].update(read_table(folder / name))
        if cost := read_cost(folder):
            costs.append(cost)
    write_outputs(
        task.folder,
        Outputs(tables, StreamCost.of_all(costs) if costs else None),
        task.fingerprint,
        substage=task.substage,
        dataset=task.dataset,
        context=to_mapping(task.context),
        decoding=task.decoding,
        method=task.method,
        model=task.model,
    )
    for leftover in task.folder.glob("shard.*"):
        shutil.rmtree(leftover)


def read_cost(folder: Path) -> StreamCost | None:
    """The cost of streaming in a folder's stamp, if it has one."""
    notes = (read_stamp(folder) or {}).get("cost")
    return None if notes is None else from_mapping(StreamCost, notes, str(folder))
