"""transformers' own wav2vec 2.0 with random weights, in the sizes of `ARCHITECTURES`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from espnet_local.encoder.spec import ARCHITECTURES


def hf_config(size: str = "tiny") -> dict[str, Any]:
    """What `config.json` says of such a model."""
    shape = ARCHITECTURES[size]
    channels, kernels, strides = zip(*shape.conv_layers)
    return {
        "model_type": "wav2vec2",
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward_dim,
        "conv_dim": list(channels),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": shape.position_kernel,
        "num_conv_pos_embedding_groups": shape.position_groups,
        "num_feat_extract_layers": len(channels),
    }


def wav2vec2(size: str, **changes: Any) -> Wav2Vec2Model:
    """A model in evaluation mode."""
    torch.manual_seed(0)
    config = {k: v for k, v in hf_config(size).items() if k != "model_type"}
    return Wav2Vec2Model(Wav2Vec2Config(**{**config, **changes})).eval()


def tiny_wav2vec2(**changes: Any) -> Wav2Vec2Model:
    """Of size `tiny`."""
    return wav2vec2("tiny", **changes)
