"""Atomic files and Kaldi tables.

Every file this project writes under its final name is complete: it is written beside its place,
flushed to disk and renamed. A Kaldi table is a text file with one `<key> <value>` line an entry,
sorted by key in the C locale.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_open(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file that appears under `path` only when the block ends without an exception.

    Args:
        path: the final name; its folder is made when missing.
        mode: "w" (UTF-8 text) or "wb".

    Raises:
        ValueError: for another mode.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; a recipe's outputs are shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` atomically."""
    with atomic_open(path) as stream:
        stream.write(text)


def iter_table(
    path: str | Path, complain: Callable[[ValueError], None] | None = None
) -> Iterator[tuple[int, str, str]]:
    """The lines of a Kaldi table as (line number, key, value), one in memory at a time.

    Args:
        path: the table; a key without a value gives an empty string.
        complain: takes the error of a bad line instead of its being raised; bytes that are not
            UTF-8 are then replaced, and an empty line is passed over.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming file and line, for an empty line or bytes that are not UTF-8.
    """
    with Path(path).open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            problem = None
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                problem = f"not UTF-8: {error.reason}"
                line = raw.decode("utf-8", "replace")
            key, *value = line.split(maxsplit=1) or [""]
            if not key:
                problem = "empty line"
            if problem:
                error_of_line = ValueError(f"{path}:{number}: {problem}")
                if complain is None:
                    raise error_of_line
                complain(error_of_line)
            if key:
                yield number, key, value[0].strip() if value else ""


def read_table(path: str | Path) -> dict[str, str]:
    """Reads a Kaldi table; a key without a value gives an empty string.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming file and line, for a duplicate key, an empty line or bytes not UTF-8.
    """
    table: dict[str, str] = {}
    for number, key, value in iter_table(path):
        if key in table:
            raise ValueError(f"{path}:{number}: duplicate key {key!r}")
        table[key] = value
    return table


def sorted_rows(path: str | Path) -> Iterator[tuple[str, str]]:
    """Keys and values of a Kaldi table that must be sorted, one line in memory at a time.

    Raises:
        FileNotFoundError, ValueError: as `read_table`, and when a key stands after a greater one.
    """
    before = ""
    for number, key, value in iter_table(path):
        if key <= before:
            what = f"duplicate key {key!r}" if key == before else f"{key} stands after {before}"
            raise ValueError(f"{path}:{number}: {what}, must be sorted as by LC_ALL=C sort")
        before = key
        yield key, value


def join_rows(*tables: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Walks sorted tables side by side: every key of any of them, with its value in each or None.

    Args:
        tables: rows as `sorted_rows` gives them, every key once.
    """
    heads = [next(table, None) for table in tables]
    while present := [head[0] for head in heads if head is not None]:
        least = min(present)
        values = []
        for number, head in enumerate(heads):
            if head is not None and head[0] == least:
                values.append(head[1])
                heads[number] = next(tables[number], None)
            else:
                values.append(None)
        yield least, tuple(values)


def write_table(path: str | Path, table: Mapping[str, object]) -> None:
    """Writes a Kaldi table sorted by key (code points, which is the C locale's order for UTF-8)."""
    with atomic_open(path) as stream:
        for key in sorted(table):
            stream.write(f"{key} {table[key]}".rstrip() + "\n")


def fingerprint(values: object = None, files: Iterable[str | Path] = ()) -> str:
    """A hash of plain values and of the contents of files: equal inputs, equal fingerprint.

    Args:
        values: anything `json` can write; mappings are compared without regard to order.
        files: paths; a missing file is an error.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for path in files:
        digest.update(b"\0")
        with Path(path).open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
