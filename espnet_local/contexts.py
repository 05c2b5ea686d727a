"""The contexts a sub-stage trains in: one, or several from which each batch draws.

Multi-chunk training (stage 4) draws chunk size, left context and sinks for every batch. The draw is
a function of the seed and of the number of the batch alone, so it is the same on every rank, in a
resumed run and on any machine.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_local.config import ContextSpec, from_mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextDraws:
    """Lists to draw from; a list of one entry is a fixed choice."""

    chunk_frames: tuple[int | None, ...] = (None,)
    left_chunks: tuple[int | None, ...] = (None,)
    sink_frames: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("chunk_frames", "left_chunks", "sink_frames"):
            if not getattr(self, name):
                raise ValueError(f"{name} must list at least one value, got an empty list")
        self.contexts()  # each combination checks itself

    def contexts(self) -> tuple[ContextSpec, ...]:
        """Every context that may be drawn, in the order of the lists, without repeats."""
        found: dict[ContextSpec, None] = {}
        for chunk, left, sink in itertools.product(
            self.chunk_frames, self.left_chunks, self.sink_frames
        ):
            if chunk is None and len(self.chunk_frames) > 1:
                # Full context has neither left chunks nor sinks; as one choice among others it
                # stands for itself.
                left, sink = None, 0
            found[ContextSpec(chunk_frames=chunk, left_chunks=left, sink_frames=sink)] = None
        return tuple(found)

    @property
    def first(self) -> ContextSpec:
        """The first of each list: the context in which the sub-stage is validated and decoded."""
        return self.contexts()[0]

    def draw(self, seed: int, batch: int) -> ContextSpec:
        """The context of training batch number `batch`: uniform over chunk, left context, sinks."""
        contexts = self.contexts()
        if len(contexts) == 1:
            return contexts[0]
        digest = hashlib.sha256(f"{seed}:{batch}".encode()).digest()
        return contexts[int.from_bytes(digest[:8], "big") % len(contexts)]


def parse_contexts(mapping: Mapping[str, Any], where: str = "encoder_params") -> ContextDraws:
    """Reads `{chunk_frames: 16}` or `{chunk_frames: [16, 32], left_chunks: [1, null]}`.

    Raises:
        ValueError: for an unknown key or a bad value, naming it.
    """
    lists = {k: v if isinstance(v, (list, tuple)) else [v] for k, v in mapping.items()}
    return from_mapping(ContextDraws, lists, where)
