"""Sorting more lines than should be in memory: sorted pieces on disk, merged."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile

PIECE_LINES = 20_000


def sorted_lines(lines: Iterable[str]) -> Iterator[str]:
    """Lines in the order of their code points, at most `PIECE_LINES` of them in memory.

    Args:
        lines: without an end of line in them.
    """
    with ExitStack() as stack:
        pieces: list[Iterator[str]] = []
        waiting: list[str] = []
        for line in lines:
            waiting.append(line)
            if len(waiting) == PIECE_LINES:
                file = stack.enter_context(TemporaryFile("w+", encoding="utf-8", newline="\n"))
                file.writelines(line + "\n" for line in sorted(waiting))
                file.seek(0)
                pieces.append(line[:-1] for line in file)
                waiting = []
        yield from heapq.merge(*pieces, sorted(waiting))
