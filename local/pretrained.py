"""Downloads a published encoder once: `python -m local.pretrained WAV2VEC2_XLSR53`.

A download that was cut short goes on where it stopped. What is complete is checked against the
SHA-256 that the source states (Hugging Face does) or the user gives, and its own is written beside
it, so that copies can be checked with `sha256sum -c SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from espnet_local.cli import log_to_stderr, one_line, run
from espnet_local.encoder.pretrained.cache import (
    BUNDLES,
    HF_CONFIG,
    HF_WEIGHTS,
    SUMS_NAME,
    cached_folder,
    check_name,
    is_cached,
    is_downloadable,
)
from espnet_local.files import write_text
from local.arguments import ArgumentParser

log = logging.getLogger(__name__)

TIMEOUT_S = 30
BLOCK_BYTES = 1 << 16  # lost at most when a connection breaks


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """A file to be fetched."""

    url: str
    name: str  # of the file here
    size: int | None = None  # bytes, where the source states it
    sha256: str | None = None  # where the source states it


def main(arguments: list[str] | None = None) -> None:
    """Parses the options and fetches what is not there."""
    parser = ArgumentParser(prog="local/download_pretrained.sh", description=__doc__)
    parser.add_argument("name", help=f"{', '.join(BUNDLES)}, or a Hugging Face id")
    parser.add_argument("--sha256", help="that the weights must have")
    options = parser.parse_args(arguments)
    if options.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", options.sha256):
        parser.error(f"--sha256 must be 64 hexadecimal digits, got {options.sha256!r}")
    log_to_stderr()
    download(options.name, options.sha256)


def download(name: str, sha256: str | None = None) -> Path:
    """Fetches a bundle or a Hugging Face model and returns its folder.

    Raises:
        FileNotFoundError: for a name that stands for nothing.
        ValueError: when a file cannot be had, or is another than it should be.
    """
    check_name(name)
    folder = cached_folder(name)
    if not is_downloadable(name):
        log.info("%s is here already", name)
        return Path(name)
    if is_cached(name):
        _check_sums(folder, sha256)
        log.info("unchanged, skipped: %s", folder)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        remotes = _bundle(name) if name in BUNDLES else _hub(name)
        sums = {remote.name: _fetch(remote, folder) for remote in remotes}
    except requests.RequestException as error:
        wanted = BUNDLES.get(name, f"{HF_CONFIG} and {' or '.join(HF_WEIGHTS)}")
        raise ValueError(
            f"{name}: download failed ({one_line(error)}); call it again to go on, or put {wanted} "
            f"into {folder.absolute()}"
        ) from None
    _demand(sums, sha256, folder)
    write_text(folder / SUMS_NAME, "".join(f"{sums[file]}  {file}\n" for file in sorted(sums)))
    log.info("%s is in %s", name, folder)
    return folder


def _bundle(name: str) -> list[Remote]:
    """torchaudio's file."""
    url = bundle_address(name)
    answer = requests.head(url, allow_redirects=True, timeout=TIMEOUT_S)
    answer.raise_for_status()
    length = answer.headers.get("Content-Length")
    return [Remote(url=url, name=BUNDLES[name], size=int(length) if length else None)]


def bundle_address(name: str) -> str:
    """Where torchaudio itself would load a bundle from: it alone knows."""
    import torchaudio
    from torchaudio.pipelines._wav2vec2 import utils

    addresses: list[str] = []

    def remember(url: str, **_: object) -> dict[str, object]:
        addresses.append(url)
        return {}

    with mock.patch.object(utils, "load_state_dict_from_url", remember):
        getattr(torchaudio.pipelines, name)._get_state_dict(None)
    return addresses[0]


def _hub(name: str) -> list[Remote]:
    """config.json and the weights of a model on the hub, safetensors where there are some."""
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    found = []
    for choices in ((HF_CONFIG,), HF_WEIGHTS):
        for file in choices:
            url = f"{hub}/{name}/resolve/main/{file}"
            answer = requests.head(url, headers=_token(), allow_redirects=False, timeout=TIMEOUT_S)
            if answer.status_code == 404 and file != choices[-1]:
                continue
            if answer.status_code == 401:
                raise ValueError(f"{name}: no such model, or it needs a login: set HF_TOKEN")
            answer.raise_for_status()
            # Large files are stored under their SHA-256, small ones under another hash.
            etag = answer.headers.get("X-Linked-ETag", "").strip('"')
            size = answer.headers.get("X-Linked-Size")
            found.append(
                Remote(
                    url=url,
                    name=file,
                    size=int(size) if size else None,
                    sha256=etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None,
                )
            )
            break
    return found


def _token() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _fetch(remote: Remote, folder: Path) -> str:
    """Fetches a file under a temporary name, checks and renames it; returns its SHA-256."""
    path, part = folder / remote.name, folder / f"{remote.name}.part"
    if not path.exists():
        # What was begun goes on, unless it is as long as the whole already.
        have = part.stat().st_size if part.exists() else 0
        if have == 0 or have != remote.size:
            _receive(remote, part, have)
        size = part.stat().st_size
        if remote.size is not None and size != remote.size:
            kept = size < remote.size
            if not kept:
                part.unlink()
            raise requests.ConnectionError(f"got {size} of {remote.size} bytes of {remote.name}")
    file = path if path.exists() else part
    found = sha256_of(file)
    if remote.sha256 is not None and found != remote.sha256:
        file.unlink()
        raise ValueError(f"{remote.url}: its SHA-256 must be {remote.sha256}, got {found}; removed")
    os.replace(file, path)
    return found


def _receive(remote: Remote, part: Path, have: int) -> None:
    headers = _token() | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        answer.raise_for_status()
        goes_on = answer.status_code == requests.codes.partial_content
        with part.open("ab" if goes_on else "wb") as stream, _progress() as progress:
            task = progress.add_task(
                remote.name, total=remote.size, completed=have if goes_on else 0
            )
            for block in answer.iter_content(BLOCK_BYTES):
                stream.write(block)
                progress.advance(task, len(block))


def _progress() -> Progress:
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _check_sums(folder: Path, sha256: str | None) -> None:
    """Holds files against the sums written when they came, where there are any."""
    path = folder / SUMS_NAME
    if path.exists():
        sums = dict(reversed(line.split("  ", 1)) for line in path.read_text().splitlines())
        for file, stated in sums.items():
            if (found := sha256_of(folder / file)) != stated:
                raise ValueError(
                    f"{folder / file}: its SHA-256 must be {stated} ({SUMS_NAME}), got {found}; "
                    "remove the folder and call it again"
                )
    files = [p for p in folder.iterdir() if p.name in (*BUNDLES.values(), *HF_WEIGHTS)]
    _demand({p.name: sha256_of(p) for p in files} if sha256 else {}, sha256, folder)


def _demand(sums: dict[str, str], sha256: str | None, folder: Path) -> None:
    """The user's own sum, of the weights.

    Raises:
        ValueError: when no file has it.
    """
    if sha256 is not None and sha256 not in sums.values():
        weights = {file: found for file, found in sums.items() if file != HF_CONFIG}
        listed = ", ".join(f"{file} {found}" for file, found in weights.items())
        raise ValueError(f"{folder}: the weights' SHA-256 must be {sha256}, got {listed}")


if __name__ == "__main__":
    run(main)
