"""Loads what training wrote, without ESPnet: config, tokens and weights of a sub-stage."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espnet_local.config import ContextSpec, from_mapping, parse_yaml
from espnet_local.decode.model_files import StoredFile, find_model
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.tokens import Tokenizer
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.predictor import PredictorSpec, StatelessPredictor
from espnet_local.transducer.spec import TransducerSpec

# What torch and pickle raise for bytes that are no checkpoint.
UNREADABLE = (
    RuntimeError, EOFError, OSError, pickle.UnpicklingError, LookupError, ValueError, TypeError,
    AttributeError, struct.error,
)  # fmt: skip


class Transducer(nn.Module):
    """The parts that decoding needs, under the names they have in ESPnet's checkpoints."""

    def __init__(
        self, encoder: StreamingEncoder, decoder: StatelessPredictor, joint_network: Joiner
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.joint_network = joint_network


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A trained sub-stage."""

    model: Transducer
    tokenizer: Tokenizer

    @property
    def own_contexts(self) -> list[ContextSpec]:
        """The streaming context it was validated in; empty when that is full context."""
        first = self.model.encoder.spec.contexts.first
        return [] if first.chunk_frames is None else [first]


def load_model(place: str | Path, checkpoint: str | None = None) -> LoadedModel:
    """Reads config, tokens and weights of a sub-stage.

    Args:
        place: its folder, such as `exp/<tag>/stage5b`, or what it was packed into, see
            `decode.model_files`.
        checkpoint: a file in the folder, None for the best one.

    Raises:
        FileNotFoundError: when one of the files is missing.
        ValueError: when the config is of another model, or the weights do not fit it, naming what.
    """
    files = find_model(place, checkpoint)
    where = files.config.name
    config = parse_yaml(files.config.read(), where)
    for key, wanted in (("encoder", "xlsr_streaming"), ("decoder", "stateless")):
        if config.get(key) != wanted:
            raise ValueError(f"{where}: {key} must be {wanted!r}, got {config.get(key)!r}")
    tokens = config.get("token_list")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{where}: token_list must be a list of tokens")
    encoder = StreamingEncoder(_spec(EncoderSpec, config, "encoder_conf", where))
    predictor_spec = _spec(PredictorSpec, config, "decoder_conf", where)
    model = Transducer(
        encoder,
        StatelessPredictor(len(tokens), predictor_spec),
        Joiner(
            len(tokens),
            encoder.output_size(),
            predictor_spec.dim,
            _spec(TransducerSpec, config, "model_conf", where).joiner,
        ),
    )
    _load_weights(model, files.weights)
    encoder.bake_weights()
    bpe_model = files.bpe_model
    return LoadedModel(
        model=model.eval(), tokenizer=Tokenizer(bpe_model.read(), tokens, bpe_model.name)
    )


def _spec(kind: type, config: dict[str, Any], key: str, where: str) -> Any:
    try:
        return from_mapping(kind, config.get(key), key)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _load_weights(model: nn.Module, stored: StoredFile) -> None:
    """Strictly, but for the auxiliary CTC, which decoding does not use."""
    path = stored.name
    with stored.open() as stream:
        try:
            weights: dict[str, Tensor] = torch.load(stream, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{path}: not a readable checkpoint: {reason}") from None
    by_name = isinstance(weights, dict) and all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()
    )
    if not by_name:
        raise ValueError(f"{path}: must hold weights by name, got {type(weights).__name__}")
    weights = {k: v for k, v in weights.items() if not k.startswith("ctc.")}
    wanted = model.state_dict()
    missing, surplus = (
        sorted(wanted.keys() - weights.keys()),
        sorted(weights.keys() - wanted.keys()),
    )
    if missing or surplus:
        raise ValueError(f"{path}: missing weights {missing}, surplus weights {surplus}")
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{path}: {name} must be of shape {tuple(wanted[name].shape)}, "
                f"got {tuple(value.shape)}"
            )
    model.load_state_dict(weights)
