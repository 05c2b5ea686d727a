"""One file from another machine, under a temporary name until its content is known to be right.

<name>.part         what has come; goes on where it stopped
<name>.part.etag    of the file at the source that it was begun with, where the source has one
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from espnet_local.encoder.pretrained.cache import HF_CONFIG
from espnet_local.encoder.pretrained.content import check_weights, read_config

log = logging.getLogger(__name__)

TIMEOUT_S = 30
BLOCK_BYTES = 1 << 16  # lost at most when a connection breaks
# A file that is packed on its way has another length than the source states, and cannot go on.
AS_IT_IS = {"Accept-Encoding": "identity"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """A file to be fetched."""

    url: str
    name: str  # of the file here
    size: int | None = None  # bytes, where the source states it
    sha256: str | None = None  # where the source states it
    # For this source and no other; a token is in no log.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Fetched(NamedTuple):
    """A file that is here, and right."""

    path: Path  # its final name if it was there already, else its temporary one
    sha256: str


def fetch(remote: Remote, folder: Path) -> Fetched:
    """Fetches what is not here of a file and checks the whole.

    Raises:
        requests.RequestException: when it did not come whole; what has come is kept.
        ValueError: when it is another file than it should be; it is removed.
    """
    path, part = folder / remote.name, folder / f"{remote.name}.part"
    if path.exists():
        part = path
    else:
        _complete(remote, part)
    found = sha256_of(part)
    try:
        if remote.sha256 is not None and found != remote.sha256:
            raise ValueError(f"its SHA-256 must be {remote.sha256}, got {found}")
        check_content(part, remote.name)
    except ValueError as error:
        discard(part)
        raise ValueError(f"{remote.url}: {error}; removed") from None
    return Fetched(part, found)


def check_content(path: Path, name: str) -> None:
    """Whether a file is what its final name says.

    Raises:
        ValueError: when it is not.
    """
    if name == HF_CONFIG:
        read_config(path)
    else:
        check_weights(path, name)


def discard(part: Path) -> None:
    """Removes what has come."""
    part.unlink(missing_ok=True)
    etag_file(part).unlink(missing_ok=True)


def etag_file(part: Path) -> Path:
    """Where the state of the source is kept that a download was begun with."""
    return part.with_name(f"{part.name}.etag")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _complete(remote: Remote, part: Path) -> None:
    """Fetches what is missing of a file."""
    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and have > remote.size:
        discard(part)
        have = 0
    if have == 0 or have != remote.size:
        _receive(remote, part, have)
    size = part.stat().st_size
    if remote.size is not None and size != remote.size:
        if size > remote.size:
            discard(part)
        raise requests.ConnectionError(f"got {size} of {remote.size} bytes of {remote.name}")


def _receive(remote: Remote, part: Path, have: int) -> None:
    headers = {**AS_IT_IS, **remote.headers}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag_file(part).exists():
            headers["If-Range"] = etag_file(part).read_text()
    with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
            log.info("%s: nothing follows the %d bytes that are here, beginning anew", part, have)
            discard(part)
            _receive(remote, part, 0)
            return
        answer.raise_for_status()
        _check_answer(answer)
        goes_on = answer.status_code == requests.codes.partial_content
        if not goes_on:
            discard(part)
            etag = answer.headers.get("ETag", "")
            if etag.startswith('"'):  # a weak one (W/"...") says nothing of the bytes
                etag_file(part).write_text(etag)
        with part.open("ab" if goes_on else "wb") as stream, _progress() as progress:
            task = progress.add_task(
                remote.name, total=remote.size, completed=have if goes_on else 0
            )
            for block in answer.iter_content(BLOCK_BYTES):
                stream.write(block)
                progress.advance(task, len(block))


def _check_answer(answer: requests.Response) -> None:
    kind = answer.headers.get("Content-Type", "")
    if kind.lower().startswith("text/html"):
        raise ValueError(
            f"{answer.url} is a web page, not the file; does a proxy here ask for a login?"
        )
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise ValueError(f"{answer.url} comes as {encoding}, not as it is; is a proxy between?")


def _progress() -> Progress:
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
