"""Endpointing: when a segment of an endless stream is over. Rules and names of sherpa-onnx.

Soft: closing a segment takes nothing away from encoder or search, so the labels of a stream are the
same, at the same times, whether or not it is cut. A segment therefore ends only behind labels that
will not change, and before any that may come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from espnet_local.config import HOP_SAMPLES, SAMPLE_RATE
from espnet_local.tokens import WORD_BOUNDARY

FRAME_SECONDS = HOP_SAMPLES / SAMPLE_RATE


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointRules:
    """Seconds; a segment ends as soon as one of the rules holds."""

    rule1_min_trailing_silence: float = 2.4  # since the last label, or the start of the segment
    rule2_min_trailing_silence: float = 1.2  # since the last label, of which there must be one
    rule3_min_utterance_length: float = 20.0  # of the segment; it ends before its last word

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be > 0 s, got {getattr(self, field.name)}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a segment ends."""

    labels: int  # so many of the segment's labels belong to it
    frame: int  # silence and length of the next segment count from here


def find_endpoint(
    rules: EndpointRules,
    pieces: Sequence[str],
    frames: Sequence[int],
    stable: int,
    start: int,
    now: int,
) -> Endpoint | None:
    """Looks for the end of a segment.

    Args:
        rules: in seconds.
        pieces, frames: of the segment's labels so far, the number of the frame of each.
        stable: so many of them will not change.
        start: the frame from which the segment's silence and length count.
        now: frames seen of the stream.
    """
    if stable == len(pieces):
        silence = (now - (frames[-1] + 1 if frames else start)) * FRAME_SECONDS
        needed = rules.rule1_min_trailing_silence
        if pieces:
            needed = min(needed, rules.rule2_min_trailing_silence)
        if silence >= needed:
            return Endpoint(labels=stable, frame=now)
    if (now - start) * FRAME_SECONDS >= rules.rule3_min_utterance_length:
        # The last word may go on: it belongs to the next segment.
        words = [i for i in range(1, stable) if pieces[i].startswith(WORD_BOUNDARY)]
        if words:
            return Endpoint(labels=words[-1], frame=frames[words[-1]])
    return None
