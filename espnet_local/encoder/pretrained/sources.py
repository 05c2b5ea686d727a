"""Reads pretrained weights from torchaudio's, Hugging Face's and fairseq's files.

Nothing that a file says is executed: safetensors, or pickles restricted to tensors and plain
values. Some fairseq checkpoints hold more than that and need to be trusted explicitly.
"""

from __future__ import annotations

import argparse
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from espnet_local.encoder.pretrained.cache import (
    BUNDLES,
    HF_CONFIG,
    HF_WEIGHTS,
    cached_folder,
    weight_files,
)
from espnet_local.encoder.pretrained.content import read_config
from espnet_local.encoder.pretrained.function import fairseq_function, hugging_face_function
from espnet_local.encoder.pretrained.names import GROUP_NORM_REASON, Format, to_ours


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights of an encoder under our names, and what they came from."""

    weights: dict[str, Tensor]
    form: Format
    function: dict[str, Any]  # what the file says of it under its own names, see `check_function`


class UntrustedPickle(ValueError):
    """A pickle that holds more than tensors and plain values."""


def read_pretrained(name: str, trust_pickle: bool = False) -> Pretrained:
    """Reads the weights that a name stands for.

    Args:
        name: a bundle of torchaudio (`WAV2VEC2_XLSR53`), a Hugging Face folder or id
            (`facebook/wav2vec2-large-xlsr-53`), or a fairseq checkpoint (`xlsr_53_56k.pt`).
        trust_pickle: lets a checkpoint execute what it holds; for files of people you trust.

    Raises:
        FileNotFoundError: when there is no such thing.
        ValueError: naming it, for what cannot be read or is no such model.
    """
    files = weight_files(name)
    path = Path(name)
    try:
        if path.is_file():
            return _of_fairseq(path, trust_pickle)
        if name in BUNDLES and not path.exists():
            weights = _tensors(load_checkpoint(files[0]), "the bundle")
            return Pretrained(
                weights=to_ours(weights, "torchaudio"), form="torchaudio", function={}
            )
        return _of_folder(path if path.is_dir() else cached_folder(name))
    except UntrustedPickle as error:
        raise ValueError(
            f"{name}: {error}, and reading it would execute what it says; if you trust where it "
            "comes from, say so with --trust_pickle"
        ) from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _of_folder(folder: Path) -> Pretrained:
    """A Hugging Face model folder: `config.json` and the weights."""
    config_path = folder / HF_CONFIG
    if not config_path.exists():
        raise ValueError(f"a Hugging Face folder must hold {HF_CONFIG}")
    config = read_config(config_path)
    if config["model_type"] != "wav2vec2":
        raise ValueError(f"model_type must be wav2vec2, got {config['model_type']!r}")
    if config.get("feat_extract_norm") != "layer":
        raise ValueError(GROUP_NORM_REASON)
    if not config.get("do_stable_layer_norm"):
        raise ValueError("do_stable_layer_norm must be true (layer norm first), got false")
    return Pretrained(
        weights=to_ours(_folder_weights(folder), "huggingface"),
        form="huggingface",
        function=hugging_face_function(config),
    )


def _folder_weights(folder: Path) -> dict[str, Tensor]:
    for name in HF_WEIGHTS:
        path = folder / name
        if path.is_file():
            if path.suffix == ".safetensors":
                try:
                    return load_file(path)
                except SafetensorError as error:
                    raise ValueError(f"{name} is not readable: {error}") from None
            return _tensors(load_checkpoint(path), name)
    raise ValueError(f"a Hugging Face folder must hold {' or '.join(HF_WEIGHTS)}")


def _of_fairseq(path: Path, trust_pickle: bool) -> Pretrained:
    checkpoint = load_checkpoint(path, trust_pickle)
    if not isinstance(checkpoint, dict) or "model" not in checkpoint:
        raise ValueError("a fairseq checkpoint must hold 'model'")
    return Pretrained(
        weights=to_ours(_tensors(checkpoint["model"], "model"), "fairseq"),
        form="fairseq",
        function=fairseq_function(checkpoint),
    )


def load_checkpoint(path: Path, trust_pickle: bool = False) -> Any:
    """What torch.save wrote.

    Raises:
        UntrustedPickle: when it holds more than tensors and plain values, and is not trusted.
        ValueError: when it cannot be read, or wants a package that is not here.
    """
    try:
        if trust_pickle:
            return torch.load(path, map_location="cpu", weights_only=False)  # noqa: S614
        # The options of older fairseq checkpoints: a plain bag of values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise ValueError(f"wants the package {package}, which is not installed") from None
    except pickle.UnpicklingError as error:
        # What torch says to a name that is not on its list; anything else is no pickle of weights.
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise UntrustedPickle("holds more than tensors and plain values") from None
        raise ValueError("not a readable checkpoint") from None
    except Exception as error:  # noqa: BLE001  # bytes that are no pickle raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"not a readable checkpoint: {reason}") from None


def _tensors(value: Any, where: str) -> dict[str, Tensor]:
    named = isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()
    )
    if not named:
        raise ValueError(f"{where} must hold weights by name")
    return value
