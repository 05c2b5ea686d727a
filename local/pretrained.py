"""Downloads a published encoder once: `python -m local.pretrained WAV2VEC2_XLSR53`.

A download that was cut short goes on where it stopped. What is complete is checked against the
SHA-256 that the source states (Hugging Face does) or the user gives; only then do the files get
their names, and their own sums beside them, so that copies can be checked with
`sha256sum -c SHA256SUMS`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock
from urllib.parse import urljoin, urlsplit

import requests

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
    weight_files,
)
from espnet_local.files import write_text
from local.arguments import ArgumentParser
from local.remote_file import (
    AS_IT_IS,
    TIMEOUT_S,
    Remote,
    check_content,
    etag_file,
    fetch,
    sha256_of,
)

log = logging.getLogger(__name__)

MOST_REDIRECTS = 10


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
    if not is_downloadable(name):
        return _check_local(name, sha256)
    folder = cached_folder(name)
    if is_cached(name):
        _check_sums(folder, sha256)
        log.info("unchanged, skipped: %s", folder)
        return folder
    with _claimed(folder):
        try:
            remotes = _bundle(name) if name in BUNDLES else _hub(name)
            came = {remote.name: fetch(remote, folder) for remote in remotes}
        except requests.RequestException as error:
            wanted = BUNDLES.get(name, f"{HF_CONFIG} and {' or '.join(HF_WEIGHTS)}")
            raise ValueError(
                f"{name}: download failed ({one_line(error)}); call it again to go on, or put "
                f"{wanted} into {folder.absolute()}"
            ) from None
        sums = {file: fetched.sha256 for file, fetched in came.items()}
        _demand(sums, sha256, folder)
        for file, fetched in came.items():
            os.replace(fetched.path, folder / file)
            etag_file(fetched.path).unlink(missing_ok=True)
        write_text(folder / SUMS_NAME, "".join(f"{sums[file]}  {file}\n" for file in sorted(sums)))
    log.info("%s is in %s", name, folder)
    return folder


def _check_local(name: str, sha256: str | None) -> Path:
    """A folder or a file of the user's own: nothing to fetch."""
    files = weight_files(name)
    if not files:
        raise ValueError(f"{name}: must hold {' or '.join(HF_WEIGHTS)}")
    _demand({path.name: sha256_of(path) for path in files} if sha256 else {}, sha256, Path(name))
    log.info("%s is here already", name)
    return Path(name)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Claims a folder alone for the length of the block; one that stays empty is removed.

    Raises:
        ValueError: when another download is writing into it.
    """
    # The lock stays beside the folder: one in it would go with it while others wait for it.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder}: another download is writing into it") from None
        folder.mkdir(exist_ok=True)
        try:
            yield
        finally:
            if not any(folder.iterdir()):
                folder.rmdir()


def _bundle(name: str) -> list[Remote]:
    """torchaudio's file."""
    url = bundle_address(name)
    answer = requests.head(url, headers=AS_IT_IS, allow_redirects=True, timeout=TIMEOUT_S)
    answer.raise_for_status()
    _say_without_sum(url)
    length = answer.headers.get("Content-Length")
    return [Remote(url=url, name=BUNDLES[name], size=_bytes(length))]


def _say_without_sum(url: str) -> None:
    log.warning("%s: its source states no SHA-256; compare with one you trust by --sha256", url)


def _bytes(length: str | None) -> int | None:
    return int(length) if length and length.isdigit() else None


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
            seen = _metadata(f"{hub}/{name}/resolve/main/{file}")
            if seen.status == requests.codes.not_found and file != choices[-1]:
                continue
            if seen.status == requests.codes.unauthorized:
                raise ValueError(f"{name}: no such model, or it needs a login: set HF_TOKEN")
            seen.answer.raise_for_status()
            # Large files are stored under their SHA-256, small ones under another hash.
            etag = seen.linked.get("x-linked-etag", "").strip('"')
            sha256 = etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None
            if sha256 is None and file != HF_CONFIG:
                _say_without_sum(seen.url)
            size = seen.linked.get("x-linked-size")
            if size is None and seen.status == requests.codes.ok:
                size = seen.answer.headers.get("Content-Length")
            found.append(
                Remote(url=seen.url, name=file, size=_bytes(size), sha256=sha256, headers=_token())
            )
            break
    return found


class _Metadata(NamedTuple):
    """What the hub says of a file."""

    url: str  # on the hub
    answer: requests.Response
    linked: dict[str, str]  # X-Linked-*, of whatever answer of the hub

    @property
    def status(self) -> int:
        """Of the last answer."""
        return self.answer.status_code


def _metadata(url: str) -> _Metadata:
    """Asks for a file on the hub; a model that was renamed lies elsewhere on the same host.

    Raises:
        requests.TooManyRedirects: when they go in a circle.
    """
    linked: dict[str, str] = {}
    for _ in range(MOST_REDIRECTS):
        answer = requests.head(
            url, headers={**AS_IT_IS, **_token()}, allow_redirects=False, timeout=TIMEOUT_S
        )
        headers = {name.lower(): value for name, value in answer.headers.items()}
        linked |= {name: value for name, value in headers.items() if name.startswith("x-linked-")}
        # The hub leads to where the bytes lie, and has said then all that it knows of them.
        target = urljoin(url, answer.headers.get("Location", ""))
        if not answer.is_redirect or urlsplit(target)[:2] != urlsplit(url)[:2]:
            return _Metadata(url, answer, linked)
        url = target
    raise requests.TooManyRedirects(f"{url}: more than {MOST_REDIRECTS} redirects")


def _token() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


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
    files = [p for p in folder.iterdir() if p.name in (*BUNDLES.values(), HF_CONFIG, *HF_WEIGHTS)]
    for file in files:
        try:
            check_content(file, file.name)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}; remove the folder and call it again") from None
    _demand({p.name: sha256_of(p) for p in files} if sha256 else {}, sha256, folder)


def _demand(sums: dict[str, str], sha256: str | None, place: Path) -> None:
    """The user's own sum, of the weights.

    Raises:
        ValueError: when no file of weights has it; what has come is kept under temporary names.
    """
    weights = {file: found for file, found in sums.items() if file != HF_CONFIG}
    if sha256 is not None and sha256 not in weights.values():
        listed = ", ".join(f"{file} {found}" for file, found in weights.items())
        parts = [str(place / f"{file}.part") for file in weights]
        kept = [part for part in parts if os.path.exists(part)]
        advice = f"; to fetch it anew, remove {', '.join(kept)}" if kept else ""
        raise ValueError(f"{place}: the weights' SHA-256 must be {sha256}, got {listed}{advice}")


if __name__ == "__main__":
    run(main)
