"""The weights that stage 1 begins with when a checkpoint of this project is named."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import torch

from espnet_local.config import load_yaml
from espnet_local.tokens import read_token_list

log = logging.getLogger(__name__)


def pretrained_init_params(checkpoint: Path, tokens: Path) -> list[str]:
    """ESPnet's `init_param` for a checkpoint written by a sub-stage.

    With the same tokens the whole model is taken, otherwise the encoder alone.

    Args:
        checkpoint: `exp/<tag>/stage1/valid.wer.best.pth`, with its `config.yaml` beside it.
        tokens: the token list folder of the new model.

    Raises:
        ValueError: when the checkpoint holds no encoder of ours.
    """
    try:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{checkpoint}: not a checkpoint of this project: {reason}") from None
    if not isinstance(weights, dict) or not any(k.startswith("encoder.encoder.") for k in weights):
        raise ValueError(
            f"{checkpoint} is no checkpoint of this project: it has no encoder.encoder.*"
        )
    config_path = checkpoint.parent / "config.yaml"
    if not config_path.exists():
        raise ValueError(f"{checkpoint} has no config.yaml beside it")
    old = load_yaml(config_path)["token_list"]
    if old == read_token_list(tokens / "tokens.txt"):
        log.info("starting from the whole model in %s", checkpoint)
        return [f"{checkpoint}:::encoder.train_batches"]
    log.info("starting from the encoder in %s; its tokens differ from %s", checkpoint, tokens)
    return [f"{checkpoint}:encoder:encoder:encoder.train_batches"]
