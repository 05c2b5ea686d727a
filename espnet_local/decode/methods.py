"""The searches by name."""

from __future__ import annotations

from typing import Any

from espnet_local.decode.beam import BeamSearch
from espnet_local.decode.greedy import GreedySearch
from espnet_local.decode.model import LoadedModel
from espnet_local.decode.search import Method, Search


def make_search(loaded: LoadedModel, method: Method, beam: int) -> Search[Any]:
    """A search with the networks of a model.

    Raises:
        ValueError: for another method than greedy and beam, or beam < 1.
    """
    predictor, joiner = loaded.model.decoder, loaded.model.joint_network
    if method == "greedy":
        return GreedySearch(predictor, joiner)
    if method == "beam":
        return BeamSearch(predictor, joiner, beam)
    raise ValueError(f"method must be 'greedy' or 'beam', got {method!r}")
