"""The weights that stage 1 begins with when pretrained ones are named."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from espnet_local.config import load_yaml
from espnet_local.encoder.pretrained.fit import TRAIN_BATCHES, encoder_weights
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.files import atomic_open
from espnet_local.tokens import read_token_list

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Weights that lie in a checkpoint of ours, or are still to be written."""

    init_param: str  # ESPnet's `<file>:<part of it>:<part of the model>:<left out>`
    encoder: dict[str, Tensor] | None = None  # to be written to the file first

    def init_params(self, folder: Path) -> list[str]:
        """ESPnet's option; writes what is still to be written into the sub-stage's folder."""
        if self.encoder is None:
            return [self.init_param]
        path = folder / "pretrained.pth"
        with atomic_open(path, "wb") as stream:
            torch.save(self.encoder, stream)
        return [f"{path}{self.init_param}"]


def pretrained_weights(
    name: str, tokens: Path, spec: EncoderSpec, trust_pickle: bool
) -> InitialWeights:
    """The weights of a checkpoint of this project or a published encoder; writes nothing.

    Args:
        name: `exp/<tag>/stage1/valid.wer.best.pth`, or as in `read_pretrained`.
        tokens: the token list folder of the new model.
        spec: of the new encoder.
        trust_pickle: as in `read_pretrained`.

    Raises:
        FileNotFoundError, ValueError: for what is no encoder, or not one of this size.
    """
    if is_of_this_project(name):
        return _of_this_project(Path(name), tokens)
    weights = encoder_weights(name, StreamingEncoder(spec), trust_pickle)
    log.info("starting from the encoder %s", name)
    return InitialWeights(init_param="::encoder", encoder=weights)


def is_of_this_project(name: str) -> bool:
    """Whether a config of ours lies beside the file."""
    path = Path(name)
    config = path.parent / "config.yaml"
    if not path.is_file() or not config.exists():
        return False
    return load_yaml(config).get("encoder") == "xlsr_streaming"


def _of_this_project(checkpoint: Path, tokens: Path) -> InitialWeights:
    """With the same tokens the whole model is taken, otherwise the encoder alone."""
    try:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{checkpoint}: not a checkpoint of this project: {reason}") from None
    if not isinstance(weights, dict) or not any(k.startswith("encoder.encoder.") for k in weights):
        raise ValueError(
            f"{checkpoint} is no checkpoint of this project: it has no encoder.encoder.*"
        )
    old = load_yaml(checkpoint.parent / "config.yaml")["token_list"]
    if old == read_token_list(tokens / "tokens.txt"):
        log.info("starting from the whole model in %s", checkpoint)
        return InitialWeights(init_param=f"{checkpoint}:::encoder.{TRAIN_BATCHES}")
    log.info("starting from the encoder in %s; its tokens differ from %s", checkpoint, tokens)
    return InitialWeights(init_param=f"{checkpoint}:encoder:encoder:encoder.{TRAIN_BATCHES}")
