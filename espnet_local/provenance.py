"""What made a result: the commit, the call, the versions of what it rests on."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "espnet")


def provenance() -> dict[str, str | None]:
    """Commit, call of run.sh and versions; None for what cannot be known."""
    return {
        "commit": commit(),
        "call": os.environ.get("XLSR_CALL"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def commit(root: Path = ROOT) -> str | None:
    """The commit of this code, with `-dirty` behind it where files were changed since.

    None for code that does not lie in a repository of its own: an installed package may lie in
    that of something else.
    """
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    top = _git(root, "rev-parse", "--show-toplevel")
    return _git(root, *describe) if top and Path(top).resolve() == root else None


def _git(root: Path, *arguments: str) -> str | None:
    call = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() if done.returncode == 0 else None


_URL = r"https?://[\w.:-]+(?:/[\w.+/-]*)?"  # without a user or a query, which may be secret
_PART = re.compile(rf"{_URL}(?=,|$)|\w+://.*|[^:=,]+")
_RELATIVE = re.compile(r"(?:\./)?\w[\w.+-]*(?:/\w[\w.+-]*)*/?")


def without_folders(call: str) -> str:
    """A command whose values name no folder of the machine, which is of no use elsewhere.

    Of a path only its last part is told, but for a plain one below the recipe, which may as well be
    a model's name: `--corpus kaldi:/home/ann/own` becomes `--corpus kaldi:.../own`.
    """
    try:
        words = shlex.split(call)
    except ValueError:
        words = call.split()
    bare = (_PART.sub(lambda part: _without_folder(part[0]), word) for word in words)
    return " ".join(
        word if re.fullmatch(r"[^\s'\"]+", word) else shlex.quote(word) for word in bare
    )


def _without_folder(value: str) -> str:
    if not re.search(r"[/\\~]", value) or _RELATIVE.fullmatch(value) or re.fullmatch(_URL, value):
        return value
    last = re.search(r"[/\\](\w[^/\\]*[/\\]?)$", value)
    return f".../{last[1]}" if last and "://" not in value else "..."
