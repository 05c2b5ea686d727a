"""Whether files are what their names say, told from their first bytes: no torch, nothing loaded."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from espnet_local.encoder.pretrained.cache import HF_CONFIG

_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save's magic number, pickled
_SAFETENSORS_LENGTH = struct.Struct("<Q")  # bytes of the JSON header that follows


def read_config(path: Path) -> dict[str, Any]:
    """The content of a config.json.

    Raises:
        ValueError: for what is no JSON object with a model_type.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{HF_CONFIG} is not readable as JSON: {error}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError(f"{HF_CONFIG} must be a JSON object with a model_type")
    return config


def check_weights(path: Path, name: str) -> None:
    """Whether a file is one of weights, to its end.

    Args:
        path: the file.
        name: that it has or is to have.

    Raises:
        ValueError: when it is none, or is cut.
    """
    kind, right = (
        ("safetensors", _is_safetensors(path))
        if name.endswith(".safetensors")
        else ("torch", _is_torch(path))
    )
    if not right:
        raise ValueError(f"{name} is no whole {kind} file")


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(_SAFETENSORS_LENGTH.size + 1)
        if len(head) <= _SAFETENSORS_LENGTH.size:
            return False
        (length,) = _SAFETENSORS_LENGTH.unpack(head[:-1])
        if head[-1:] != b"{" or length > path.stat().st_size - _SAFETENSORS_LENGTH.size:
            return False
        try:
            header = json.loads(b"{" + stream.read(length - 1))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
    return path.stat().st_size == _SAFETENSORS_LENGTH.size + length + max(ends, default=0)


def _is_torch(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as stream:
        return stream.read(len(_LEGACY_TORCH)) == _LEGACY_TORCH
