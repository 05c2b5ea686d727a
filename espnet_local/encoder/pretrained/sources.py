"""Where pretrained weights come from: torchaudio's bundles, Hugging Face, fairseq, this project.

Nothing that a file says is executed: safetensors, or pickles restricted to tensors and plain
values. Some fairseq checkpoints hold more than that and need to be trusted explicitly.
"""

from __future__ import annotations

import argparse
import json
import pickle
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from espnet_local.encoder.pretrained.names import (
    BUNDLES,
    GROUP_NORM_REASON,
    HF_FILES,
    Format,
    check_name,
    to_ours,
)


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights of an encoder under our names, and what they came from."""

    weights: dict[str, Tensor]
    form: Format


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
    check_name(name)
    path = Path(name)
    try:
        if name in BUNDLES:
            return _of("torchaudio", _bundle_weights(name))
        if path.is_dir():
            return _of("huggingface", _folder_weights(path))
        if path.is_file():
            return _of("fairseq", _fairseq_weights(path, trust_pickle))
        return _of("huggingface", _folder_weights(_hub_folder(name)))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _of(form: Format, weights: dict[str, Tensor]) -> Pretrained:
    return Pretrained(weights=to_ours(weights, form), form=form)


def _bundle_weights(name: str) -> dict[str, Tensor]:
    import torchaudio

    bundle = getattr(torchaudio.pipelines, name)
    try:
        return bundle.get_model().state_dict()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ValueError(
            f"download failed ({error}); on a machine without a network put torchaudio's file "
            f"{bundle._path} into {folder}"
        ) from None


def _folder_weights(folder: Path) -> dict[str, Tensor]:
    """A Hugging Face model folder: `config.json` and the weights."""
    config_path = folder / "config.json"
    if not config_path.exists():
        raise ValueError("a Hugging Face folder must hold config.json")
    config = json.loads(config_path.read_text(encoding="utf-8"))
    if config.get("model_type") != "wav2vec2":
        raise ValueError(f"model_type must be wav2vec2, got {config.get('model_type')!r}")
    if config.get("feat_extract_norm") != "layer":
        raise ValueError(GROUP_NORM_REASON)
    if not config.get("do_stable_layer_norm"):
        raise ValueError("do_stable_layer_norm must be true (layer norm first), got false")
    for name in HF_FILES:
        path = folder / name
        if path.exists():
            if path.suffix == ".safetensors":
                try:
                    return load_file(path)
                except SafetensorError as error:
                    raise ValueError(f"{name} is not readable: {error}") from None
            return _tensors(_load(path, trust_pickle=False), name)
    raise ValueError(f"a Hugging Face folder must hold {' or '.join(HF_FILES)}")


def _hub_folder(model_id: str) -> Path:
    """The folder in the hub's cache, downloaded when it is not there."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ValueError(
            "a Hugging Face id needs huggingface_hub (pip install huggingface_hub); or name a "
            "folder with config.json and model.safetensors"
        ) from None
    try:
        folder = huggingface_hub.snapshot_download(
            model_id, allow_patterns=["config.json", *HF_FILES]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"download failed ({str(error).splitlines()[0]}); on a machine without a network copy "
            "config.json and model.safetensors or pytorch_model.bin into a folder and name that"
        ) from None
    return Path(folder)


def _fairseq_weights(path: Path, trust_pickle: bool) -> dict[str, Tensor]:
    value = _load(path, trust_pickle)
    if not isinstance(value, dict) or "model" not in value:
        raise ValueError("a fairseq checkpoint must hold 'model'")
    return _tensors(value["model"], "model")


def _load(path: Path, trust_pickle: bool) -> Any:
    if trust_pickle:
        return torch.load(path, map_location="cpu", weights_only=False)  # noqa: S614
    try:
        # The options of older fairseq checkpoints: a plain bag of values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # What torch says to a name that is not on its list; anything else is no pickle of weights.
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise ValueError(
                "holds more than tensors and plain values, and reading it would execute what it "
                "says; if you trust where it comes from, say so with --trust_pickle"
            ) from None
        raise ValueError("not a readable checkpoint") from None
    except (RuntimeError, EOFError, LookupError) as error:
        raise ValueError(f"not a readable checkpoint: {str(error).splitlines()[0]}") from None


def _tensors(value: Any, where: str) -> dict[str, Tensor]:
    named = isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()
    )
    if not named:
        raise ValueError(f"{where} must hold weights by name")
    return value
