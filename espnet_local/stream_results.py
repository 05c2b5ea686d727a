"""Latency and cost of a streamed set, and whether it equals masked decoding; no torch here.

The quantities are defined in `espnet_local.metrics`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from espnet_local.decode.output import read_cost
from espnet_local.files import read_table
from espnet_local.metrics import (
    StreamCost,
    emission_delays,
    percentiles_ms,
    read_ctm,
    timed_words,
)
from espnet_local.stamp import STAMP_NAME

log = logging.getLogger(__name__)

STREAM_COLUMNS = (
    "em_p50_ms",
    "em_p90_ms",
    "em_p99_ms",
    "first_ms",
    "final_ms",
    "rtf",
    "mem_mb",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamResult:
    """What streaming rows have besides error rates; None where it is not known."""

    emission_ms: tuple[float, ...] | None = None  # percentiles, where word times are known
    first_word_ms: float | None = None  # median
    cost: StreamCost | None = None
    agreement: str | None = None  # `150/150`: utterances whose tokens are those of masked decoding

    def cells(self) -> list[str]:
        """The values in the order of `STREAM_COLUMNS`."""
        final = percentiles_ms(self.cost.finalisation_seconds) if self.cost else None
        return [
            *(cell(ms) for ms in self.emission_ms or (None, None, None)),
            cell(self.first_word_ms),
            cell(final[0] if final else None, digits=1),
            cell(self.cost.real_time_factor if self.cost else None, digits=3),
            cell(self.cost.peak_memory_mb if self.cost else None),
        ]


def cell(value: float | None, digits: int = 0) -> str:
    """A number for a table, `-` for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def stream_result(folder: Path, data_dir: Path) -> StreamResult:
    """Reads the latency and cost of a streamed set.

    Args:
        folder: the decoded set.
        data_dir: its data directory, with a `words.ctm` where word times are known.

    Raises:
        ValueError: naming the file, for one that does not fit the others.
    """
    tokens, emission = read_table(folder / "token"), read_table(folder / "emission")
    delays: list[float] = []
    first: list[float] = []
    if (data_dir / "words.ctm").exists():
        spoken = read_ctm(data_dir / "words.ctm")
        for utterance, pieces in tokens.items():
            seconds = [float(value) for value in emission.get(utterance, "").split()]
            try:
                found = timed_words(pieces.split(), seconds)
            except ValueError as error:
                raise ValueError(f"{folder / 'emission'}: {utterance}: {error}") from None
            of_utterance = emission_delays(spoken.get(utterance, []), found)
            delays.extend(of_utterance.words)
            if of_utterance.first is not None:
                first.append(of_utterance.first)
    first_ms = percentiles_ms(first)
    return StreamResult(
        emission_ms=percentiles_ms(delays),
        first_word_ms=first_ms[0] if first_ms else None,
        cost=read_cost(folder),
        agreement=_agreement(folder, tokens),
    )


def _agreement(folder: Path, tokens: dict[str, str]) -> str | None:
    """Compares with masked decoding of the same set; None where that is not decoded."""
    masked = folder.parent.with_name(folder.parent.name.removesuffix("_streaming")) / folder.name
    if not (masked / STAMP_NAME).exists():
        return None
    expected = read_table(masked / "token")
    differing = sorted(u for u in tokens if tokens[u] != expected.get(u))
    if differing:
        log.warning(
            "%s: %d of %d utterances differ from masked decoding, first %s",
            folder,
            len(differing),
            len(tokens),
            differing[0],
        )
    return f"{len(tokens) - len(differing)}/{len(tokens)}"
