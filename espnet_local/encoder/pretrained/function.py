"""The function that a file says its weights are for, and ours.

Shapes do not tell the number of heads, an activation or a stride: weights of another function fill
every place and compute something else. What files state of it is compared with an `Architecture`.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping
from typing import Any

from espnet_local.encoder.pretrained.names import Format
from espnet_local.encoder.spec import Architecture

# What transformers takes for a key that config.json lacks.
_HF_DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "feat_extract_activation": "gelu",
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
_MOST_REPEATS = 99  # of a layer in fairseq's list


def hugging_face_function(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says, under its names; complete."""
    return {key: config.get(key, default) for key, default in _HF_DEFAULTS.items()}


def fairseq_function(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What the options in a checkpoint say, under their names; many checkpoints have few."""
    stated: dict[str, Any] = {}
    for options in (_mapping(checkpoint.get("args")), _mapping(checkpoint.get("cfg"))):
        model = _mapping(options.get("model")) or options
        if published := _mapping(model.get("w2v_args")):  # of what was fine-tuned
            model = _mapping(published.get("model")) or published
        stated.update(model)
    layers = stated.get("conv_feature_layers")
    if isinstance(layers, str):
        stated["conv_feature_layers"] = _conv_layers(layers)
    return stated


def check_function(stated: Mapping[str, Any], form: Format, shape: Architecture) -> None:
    """What is stated must be what an encoder of this shape computes.

    Raises:
        ValueError: listing every difference under the file's own names.
    """
    problems = [
        f"{key} must be {want!r}, got {stated[key]!r}"
        for key, want in _ours(form, shape).items()
        if key in stated and stated[key] != want
    ]
    if problems:
        raise ValueError("; ".join(problems))


def _ours(form: Format, shape: Architecture) -> dict[str, Any]:
    if form == "fairseq":
        return {
            "layer_norm_first": True,
            "extractor_mode": "layer_norm",
            "encoder_attention_heads": shape.heads,
            "encoder_layers": shape.layers,
            "encoder_embed_dim": shape.dim,
            "encoder_ffn_embed_dim": shape.feed_forward_dim,
            "activation_fn": "gelu",
            "conv_feature_layers": list(shape.conv_layers),
            "conv_bias": True,
            "conv_pos": shape.position_kernel,
            "conv_pos_groups": shape.position_groups,
        }
    channels, kernels, strides = (list(values) for values in zip(*shape.conv_layers))
    return {
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.dim,
        "intermediate_size": shape.feed_forward_dim,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "feat_extract_activation": "gelu",
        "conv_dim": channels,
        "conv_kernel": kernels,
        "conv_stride": strides,
        "conv_bias": True,
        "num_conv_pos_embeddings": shape.position_kernel,
        "num_conv_pos_embedding_groups": shape.position_groups,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, argparse.Namespace):
        return vars(value)
    return value if isinstance(value, Mapping) else {}


def _conv_layers(text: str) -> Any:
    """`[(512, 10, 5)] + [(512, 3, 2)] * 4` as a list; the text itself where it is none.

    fairseq evaluates it as Python; here nothing that a file says is executed.
    """
    layers: list[Any] = []
    try:
        for term in text.split("+"):
            listed, _, times = term.partition("*")
            layers += ast.literal_eval(listed.strip()) * min(int(times or 1), _MOST_REPEATS)
    except (ValueError, SyntaxError, TypeError):
        return text
    return layers
