"""The names of wav2vec 2.0 weights in other programs, and ours. No weight is left to chance.

Every format is turned into the names of `StreamingEncoder`, which are torchaudio's. What belongs
to pretraining alone (quantizer, projections of the contrastive task) is known by name and left out;
any other weight without a place of ours is an error, and so is a place without a weight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Format = Literal["torchaudio", "huggingface", "fairseq"]

MASK_EMBEDDING = "feature_mask.embedding"
POSITION = "encoder.transformer.pos_conv_embed.conv."

_CONV, _OUR_CONV = r"feature_extractor\.conv_layers\.(\d+)\.", r"feature_extractor.conv_layers.\1."
_LAYER, _OUR_LAYER = r"encoder\.layers\.(\d+)\.", r"encoder.transformer.layers.\1."
# (pattern, ours) tried in order; None: of pretraining or of another task's head, left out.
_RULES: dict[Format, tuple[tuple[str, str | None], ...]] = {
    "torchaudio": (
        (r"aux\..*", None),
        (r"((feature_extractor|encoder)\..*)", r"\1"),
    ),
    "huggingface": (
        (r"(quantizer|project_q|project_hid|lm_head|dropout_features)\..*", None),
        (r"masked_spec_embed", MASK_EMBEDDING),
        (r"(feature_extractor\..*)", r"\1"),
        (r"(feature_projection\..*)", r"encoder.\1"),
        (r"encoder\.(.*)", r"encoder.transformer.\1"),
    ),
    "fairseq": (
        (r"(quantizer|project_q|final_proj|input_quantizer|target_glu|proj)\..*", None),
        (r"mask_emb", MASK_EMBEDDING),
        (_CONV + r"0\.(.*)", _OUR_CONV + r"conv.\2"),
        (_CONV + r"2\.1\.(.*)", _OUR_CONV + r"layer_norm.\2"),
        (r"post_extract_proj\.(.*)", r"encoder.feature_projection.projection.\1"),
        (r"layer_norm\.(.*)", r"encoder.feature_projection.layer_norm.\1"),
        (r"encoder\.pos_conv\.0\.(.*)", POSITION + r"\1"),
        (r"encoder\.layer_norm\.(.*)", r"encoder.transformer.layer_norm.\1"),
        (_LAYER + r"self_attn_layer_norm\.(.*)", _OUR_LAYER + r"layer_norm.\2"),
        (_LAYER + r"self_attn\.(.*)", _OUR_LAYER + r"attention.\2"),
        (_LAYER + r"fc1\.(.*)", _OUR_LAYER + r"feed_forward.intermediate_dense.\2"),
        (_LAYER + r"fc2\.(.*)", _OUR_LAYER + r"feed_forward.output_dense.\2"),
        (_LAYER + r"(final_layer_norm\..*)", _OUR_LAYER + r"\2"),
    ),
}
_PREFIXES: dict[Format, tuple[str, ...]] = {
    "torchaudio": ("model.",),  # of bundles that also normalise the waveform
    "huggingface": ("wav2vec2.",),  # of models with a head
    "fairseq": ("w2v_encoder.w2v_model.", "w2v_model."),  # of fine-tuned ones
}
# Weight normalisation before and since torch 2.0.
_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_FAIRSEQ_GROUP_NORM = r"feature_extractor\.conv_layers\.0\.2\.(weight|bias)"


def to_ours(weights: Mapping[str, Tensor], form: Format) -> dict[str, Tensor]:
    """Weights under our names.

    Raises:
        ValueError: listing names that have no place here, or for a model with a group norm.
    """
    found: dict[str, Tensor] = {}
    unknown = []
    if any(re.fullmatch(_FAIRSEQ_GROUP_NORM, _bare(name, form)) for name in weights):
        raise ValueError(GROUP_NORM_REASON)
    for name, value in weights.items():
        ours = _our_name(_bare(name, form), form)
        if ours is UNKNOWN:
            unknown.append(name)
        elif isinstance(ours, str):
            if ours in found:
                raise ValueError(f"two weights for {ours}, the second is {name}")
            found[ours] = value
    if unknown:
        raise ValueError(f"surplus weights {_listed(unknown)}: no part of a {form} wav2vec 2.0")
    # Elsewhere a group norm has a layer norm's name, and stands in the first convolution alone.
    norm = _CONV + r"layer_norm\.weight"
    if sum(re.fullmatch(norm, ours) is not None for ours in found) == 1:
        raise ValueError(GROUP_NORM_REASON)
    return found


GROUP_NORM_REASON = (
    "a base model with a group norm: it normalises over the whole utterance, so padding changes it "
    "and it cannot stream; take a model with layer norm (large, XLSR, XLS-R)"
)
UNKNOWN = object()


def check_fit(weights: Mapping[str, Tensor], places: Mapping[str, Tensor]) -> None:
    """Every place must have a weight of its shape, and every weight a place.

    Raises:
        ValueError: listing what is missing, surplus or misshapen.
    """
    missing = sorted(places.keys() - weights.keys())
    surplus = sorted(weights.keys() - places.keys())
    problems = []
    if missing:
        problems.append(f"missing weights {_listed(missing)}")
    if surplus:
        problems.append(f"surplus weights {_listed(surplus)}")
    for name in sorted(weights.keys() & places.keys()):
        have, want = tuple(weights[name].shape), tuple(places[name].shape)
        if have != want:
            problems.append(f"{name} must be of shape {want}, got {have}")
    if problems:
        more = f" and {len(problems) - 5} problems more" if len(problems) > 5 else ""
        raise ValueError("; ".join(problems[:5]) + more)


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """No weight may be infinite or NaN.

    Raises:
        ValueError: listing those that are.
    """
    broken = sorted(name for name, value in weights.items() if not value.isfinite().all())
    if broken:
        raise ValueError(f"weights that are not finite {_listed(broken)}")


def _bare(name: str, form: Format) -> str:
    for prefix in _PREFIXES[form]:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _our_name(name: str, form: Format) -> object:
    """Our name, None for a weight to be left out, UNKNOWN for one that has no rule."""
    for pattern, ours in _RULES[form]:
        if match := re.fullmatch(pattern, name):
            if ours is None:
                return None
            found = match.expand(ours)
            end = found.removeprefix(POSITION)
            return POSITION + _WEIGHT_NORM.get(end, end) if found != end else found
    return UNKNOWN


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
