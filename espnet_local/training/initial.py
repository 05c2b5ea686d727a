"""The weights that stage 1 begins with when pretrained ones are named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espnet_local.config import from_mapping, load_yaml
from espnet_local.decode.model import Transducer
from espnet_local.encoder.pretrained.fit import TRAIN_BATCHES, encoder_weights
from espnet_local.encoder.pretrained.names import check_finite, check_fit
from espnet_local.encoder.pretrained.sources import UntrustedPickle, load_checkpoint
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.files import atomic_open
from espnet_local.tokens import read_token_list
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.predictor import PredictorSpec, StatelessPredictor
from espnet_local.transducer.spec import TransducerSpec

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
    name: str,
    tokens: Path,
    spec: EncoderSpec,
    trust_pickle: bool,
    espnet: Mapping[str, Any],
) -> InitialWeights:
    """The weights of a checkpoint of this project or a published encoder; writes nothing.

    Args:
        name: `exp/<tag>/stage1/valid.wer.best.pth`, or as in `read_pretrained`.
        tokens: the token list folder of the new model.
        spec: of the new encoder.
        trust_pickle: as in `read_pretrained`.
        espnet: the new model's config, for its predictor and joiner.

    Raises:
        FileNotFoundError, ValueError: for what is no encoder, or not one of this size.
    """
    if is_of_this_project(name):
        return _of_this_project(Path(name), tokens, spec, espnet)
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


def _of_this_project(
    checkpoint: Path, tokens: Path, spec: EncoderSpec, espnet: Mapping[str, Any]
) -> InitialWeights:
    """With the same tokens the whole model is taken, otherwise the encoder alone."""
    weights = _read(checkpoint)
    config = load_yaml(checkpoint.parent / "config.yaml")
    token_list = read_token_list(tokens / "tokens.txt")
    whole = config.get("token_list") == token_list
    with torch.device("meta"):  # names and shapes alone
        encoder = StreamingEncoder(spec)
        places = _whole_model(encoder, espnet, len(token_list)) if whole else encoder
    prefix = "" if whole else "encoder."
    taken = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    try:
        check_fit(taken, places.state_dict())
        check_finite(taken)
    except ValueError as error:
        raise ValueError(f"{checkpoint} does not fit the new model: {error}") from None
    if whole:
        log.info("starting from the whole model in %s", checkpoint)
        return InitialWeights(init_param=f"{checkpoint}:::encoder.{TRAIN_BATCHES}")
    log.info("starting from the encoder in %s; its tokens differ from %s", checkpoint, tokens)
    return InitialWeights(init_param=f"{checkpoint}:encoder:encoder:encoder.{TRAIN_BATCHES}")


def _read(checkpoint: Path) -> dict[str, Tensor]:
    try:
        weights = load_checkpoint(checkpoint)
    except UntrustedPickle as error:
        raise ValueError(f"{checkpoint} {error}: this project did not write it") from None
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None
    if not isinstance(weights, dict) or not any(
        str(k).startswith("encoder.encoder.") for k in weights
    ):
        raise ValueError(
            f"{checkpoint} is no checkpoint of this project: it has no encoder.encoder.*"
        )
    for key, value in weights.items():
        if not (isinstance(key, str) and isinstance(value, Tensor)):
            raise ValueError(f"{checkpoint}: must hold weights by name, {key} is none")
    return weights


def _whole_model(encoder: StreamingEncoder, espnet: Mapping[str, Any], tokens: int) -> nn.Module:
    """The places of ESPnet's model: what decoding has, and the auxiliary CTC."""
    predictor = from_mapping(PredictorSpec, espnet.get("decoder_conf"), "decoder_conf")
    transducer = from_mapping(TransducerSpec, espnet.get("model_conf"), "model_conf")
    width = encoder.output_size()
    model = Transducer(
        encoder,
        StatelessPredictor(tokens, predictor),
        Joiner(tokens, width, predictor.dim, transducer.joiner),
    )
    if transducer.ctc_weight > 0:
        model.ctc = nn.ModuleDict({"ctc_lo": nn.Linear(width, tokens)})
    return model
