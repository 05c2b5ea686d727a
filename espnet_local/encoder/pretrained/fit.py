"""Weights of a published encoder for one of ours, every place filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from espnet_local.encoder.pretrained.function import check_function
from espnet_local.encoder.pretrained.names import MASK_EMBEDDING, check_finite, check_fit
from espnet_local.encoder.pretrained.sources import read_pretrained

if TYPE_CHECKING:
    from espnet_local.encoder.streaming import StreamingEncoder

TRAIN_BATCHES = "train_batches"  # a count of ours, in no file of others


def encoder_weights(
    name: str, encoder: StreamingEncoder, trust_pickle: bool = False
) -> dict[str, Tensor]:
    """All weights of an encoder but its count of batches.

    Args:
        name: as in `read_pretrained`.
        encoder: whose places are to be filled.
        trust_pickle: as in `read_pretrained`.

    Raises:
        FileNotFoundError: when there is no such file, saying how to get it.
        ValueError: for what is no encoder, does not fit, computes something else, or is not finite.
    """
    found = read_pretrained(name, trust_pickle)
    weights = found.weights
    places = encoder.state_dict()
    del places[TRAIN_BATCHES]
    # Published files differ in whether they keep it; random spans then begin from zeros.
    weights.setdefault(MASK_EMBEDDING, places[MASK_EMBEDDING])
    try:
        check_fit(weights, places)
        check_function(found.function, found.form, encoder.spec.architecture)
        check_finite(weights)
    except ValueError as error:
        raise ValueError(f"{name} does not fit size {encoder.spec.size}: {error}") from None
    return weights
