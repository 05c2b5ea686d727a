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
from collections.abc import Iterable, Iterator, Mapping
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


def read_table(path: str | Path) -> dict[str, str]:
    """Reads a Kaldi table; a key without a value gives an empty string.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming file and line, for a duplicate key, an empty line or bytes not UTF-8.
    """
    path = Path(path)
    table: dict[str, str] = {}
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}:{number}: not UTF-8: {error.reason}") from None
            key, *value = line.split(maxsplit=1) or [""]
            if not key:
                raise ValueError(f"{path}:{number}: empty line")
            if key in table:
                raise ValueError(f"{path}:{number}: duplicate key {key!r}")
            table[key] = value[0].strip() if value else ""
    return table


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
