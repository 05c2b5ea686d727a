"""The files of a decoded set, and joining shards into one. No torch here.

text     <utterance> <words>
token    <utterance> <pieces, blanks between them>
timing   <utterance> <seconds at which each piece was emitted: its frame's number x 20 ms>
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from espnet_local.config import HOP_SAMPLES, SAMPLE_RATE, to_mapping
from espnet_local.decode.hypothesis import Hypothesis
from espnet_local.decode.plan import DecodeTask, Shard
from espnet_local.files import read_table, write_table
from espnet_local.stamp import clear_stamp, write_stamp


class Pieces(Protocol):
    """What is asked of a tokenizer."""

    tokens: Any  # pieces by label

    def decode(self, ids: list[int]) -> str:
        """Labels to words."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Tables by utterance; the fields are the names of the files."""

    text: dict[str, str]
    token: dict[str, str]
    timing: dict[str, str]

    @classmethod
    def of(cls, hypotheses: Mapping[str, Hypothesis], tokenizer: Pieces) -> Outputs:
        """The tables of decoded utterances."""
        seconds = HOP_SAMPLES / SAMPLE_RATE
        items = hypotheses.items()
        return cls(
            text={u: tokenizer.decode(list(h.tokens)) for u, h in items},
            token={u: " ".join(tokenizer.tokens[i] for i in h.tokens) for u, h in items},
            timing={u: " ".join(f"{t * seconds:.2f}" for t in h.timestamps) for u, h in items},
        )


def write_outputs(folder: Path, outputs: Outputs, fingerprint: str, **notes: Any) -> None:
    """Writes the tables, and the stamp last."""
    clear_stamp(folder)
    for field in fields(outputs):
        write_table(folder / field.name, getattr(outputs, field.name))
    write_stamp(folder, fingerprint, utterances=len(outputs.text), **notes)


def merge_shards(task: DecodeTask, count: int) -> None:
    """Joins the shards of a task into the final tables, and removes them.

    Raises:
        ValueError: when a shard is missing or older than its inputs.
    """
    merged = Outputs({}, {}, {})
    for index in range(1, count + 1):
        shard = Shard(index, count)
        folder = task.shard_folder(shard)
        if not task.is_shard_done(shard):
            raise ValueError(
                f"{folder}: not decoded, or from other inputs; decode with --shard {index}/{count}"
            )
        for field in fields(merged):
            getattr(merged, field.name).update(read_table(folder / field.name))
    write_outputs(
        task.folder,
        merged,
        task.fingerprint,
        substage=task.substage,
        dataset=task.dataset,
        context=to_mapping(task.context),
        decoding="masked",
        method=task.method,
    )
    for leftover in task.folder.glob("shard.*"):
        shutil.rmtree(leftover)
