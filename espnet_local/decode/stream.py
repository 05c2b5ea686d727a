"""One stream of a recognizer: what came in, where encoder and search stand, what was found.

N samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from espnet_local.decode.endpoint import FRAME_SECONDS, Endpoint, EndpointRules, find_endpoint
from espnet_local.decode.hypothesis import Labels, Pending
from espnet_local.encoder.cache import EncoderState
from espnet_local.resample import Resampler
from espnet_local.tokens import Tokenizer

MAX_AMPLITUDE = 4.0  # of samples meant to be in [-1, 1]; integers go far beyond


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What is recognised of the current segment."""

    text: str
    tokens: tuple[str, ...]
    timestamps: tuple[float, ...]  # s from the start of the stream, of each token's frame
    token_logprobs: tuple[float, ...]  # of each token where it was emitted, nats
    stable_tokens: int  # so many of the tokens will not change any more, nor will their times
    stable_text: str  # the text of those
    is_final: bool  # the segment is closed: the end of the input, or an endpoint
    segment: int  # counted from 0
    start: float  # s, where the segment begins: before its labels, those to come as well


class Stream:
    """An audio stream; made by `Recognizer.create_stream`."""

    def __init__(self, owner: object, encoder_state: EncoderState, search_state: Any) -> None:
        """
        Args:
            owner: the recognizer that may decode it.
            encoder_state, search_state: of one row, before the first sample.
        """
        self.owner = owner
        self.encoder_state = encoder_state
        self.search_state = search_state
        self.pending = Pending()  # of the search
        self.endpoint: Endpoint | None = None
        self.frames_seen = 0
        self.decoded = False  # to the end of the input
        self._resampler: Resampler | None = None
        self._inbox: deque[np.ndarray] = deque()
        self._waiting = 0  # samples in it
        self._finished = False
        # (label, frame, log-probability) from the segment's start on
        self._settled: list[tuple[int, int, float]] = []
        self._surplus = 0  # labels of the search still to come that a closed segment has had
        self._segment = 0
        self._start_frame = 0  # no label of the segment is earlier
        self._opened_frame = 0  # from which the segment's silence and length count

    def accept_waveform(self, sample_rate: int, samples: np.ndarray | Tensor) -> None:
        """Takes in the next samples.

        Args:
            sample_rate: Hz, the same throughout a stream.
            samples: (N,) float, in [-1, 1].

        Raises:
            ValueError: naming what is wrong; the stream is as before then.
        """
        if self._finished:
            raise ValueError("samples after input_finished(); create a new stream")
        checked = _checked(samples)
        resampler = self._resampler or Resampler.at(_checked_rate(sample_rate))
        if resampler.rate != sample_rate:
            raise ValueError(f"sample_rate must stay {resampler.rate} Hz, got {sample_rate}")
        ready, self._resampler = resampler.push(checked)
        self._put(ready)

    def input_finished(self) -> None:
        """Declares that no more samples come; what is left can then be decoded."""
        if not self._finished and self._resampler is not None:
            rest, self._resampler = self._resampler.push(np.zeros(0, np.float32), last=True)
            self._put(rest)
        self._finished = True

    @property
    def input_is_finished(self) -> bool:
        """Whether `input_finished` was called."""
        return self._finished

    @property
    def waiting_samples(self) -> int:
        """Samples at 16 kHz that no step of the encoder was given yet."""
        return self._waiting

    def peek(self, count: int) -> Tensor:
        """The next samples, `count` at most, left where they are. (N,)"""
        parts: list[np.ndarray] = [np.zeros(0, np.float32)]
        for packet in self._inbox:
            if count <= 0:
                break
            parts.append(packet[:count])
            count -= len(packet)
        return torch.from_numpy(np.concatenate(parts))

    def drop(self, count: int) -> None:
        """Removes the next `count` samples."""
        self._waiting -= count
        while count:
            packet = self._inbox.popleft()
            if len(packet) > count:
                self._inbox.appendleft(packet[count:])
            count -= min(count, len(packet))

    def extend(self, labels: Labels, pending: Pending, frames: int) -> None:
        """Takes in what a step found: certain labels, the rest, and the number of its frames."""
        skipped = min(self._surplus, len(labels))
        self._surplus -= skipped
        rest = labels.part(skipped)
        self._settled.extend(zip(rest.tokens, rest.timestamps, rest.token_logprobs))
        self.pending = pending
        self.frames_seen += frames

    def update_endpoint(self, rules: EndpointRules, tokenizer: Tokenizer) -> None:
        """Looks for the end of the segment, if it has not ended."""
        if self.endpoint is None:
            labels = self.labels()
            pieces = [tokenizer.tokens[token] for token in labels.tokens]
            arguments = (self._stable(), self._opened_frame, self.frames_seen)
            end = find_endpoint(rules, pieces, labels.timestamps, *arguments)
            if end is not None:
                last = labels.timestamps[end.labels - 1] if end.labels else self._start_frame
                # Where a label to come may be as early as the last one, the segment goes on.
                self.endpoint = end if self._start_behind(end) > last else None

    def close_segment(self) -> None:
        """Begins a new segment at the endpoint, or else behind the labels that are stable."""
        end = self.endpoint or Endpoint(labels=self._stable(), frame=self.frames_seen)
        settled = len(self._settled)
        del self._settled[: end.labels]
        self._surplus += max(0, end.labels - settled)
        self._start_frame, self._opened_frame = self._start_behind(end), end.frame
        self._segment += 1
        self.endpoint = None

    def result(self, tokenizer: Tokenizer) -> Result:
        """What is recognised of the current segment; of a closed one, just what belongs to it."""
        labels, stable = self.labels(), self._stable()
        if self.endpoint is not None:
            labels = labels.part(0, self.endpoint.labels)
        stable = min(stable, len(labels))
        return Result(
            text=tokenizer.decode(labels.tokens),
            tokens=tuple(tokenizer.tokens[token] for token in labels.tokens),
            timestamps=tuple(round(frame * FRAME_SECONDS, 2) for frame in labels.timestamps),
            token_logprobs=labels.token_logprobs,
            stable_tokens=stable,
            stable_text=tokenizer.decode(labels.tokens[:stable]),
            is_final=self.decoded or self.endpoint is not None,
            segment=self._segment,
            start=round(self._start_frame * FRAME_SECONDS, 2),
        )

    def labels(self) -> Labels:
        """The labels found in the current segment."""
        settled = Labels(*zip(*self._settled)) if self._settled else Labels()
        return settled + self.pending.labels.part(self._surplus)

    def _put(self, samples: np.ndarray) -> None:
        self._inbox.append(samples)
        self._waiting += len(samples)

    def _start_behind(self, end: Endpoint) -> int:
        """The first frame of the next segment: no later than the first label it may have."""
        return end.frame if self.decoded else min(end.frame, self.pending.earliest)

    def _stable(self) -> int:
        if self.decoded:
            return len(self.labels())
        return len(self._settled) + max(0, self.pending.stable - self._surplus)


def _checked_rate(sample_rate: object) -> int:
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, np.integer)):
        raise ValueError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}")
    return int(sample_rate)


def _checked(samples: np.ndarray | Tensor | Sequence[float]) -> np.ndarray:
    """A copy of the samples as float32, (N,)."""
    if isinstance(samples, Tensor):
        # numpy has no bfloat16.
        samples = (
            (samples.float() if samples.is_floating_point() else samples).detach().cpu().numpy()
        )
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(
            f"samples must be of one channel, shape (N,), got shape {array.shape}; "
            "pick or mix the channels first"
        )
    if array.size and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"samples must be float in [-1, 1], got {array.dtype}; divide 16-bit integers by 32768"
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(f"samples must be finite, got {array[~finite][0]} at {finite.argmin()}")
    peak = float(np.abs(array).max(initial=0.0))
    if peak > MAX_AMPLITUDE:
        raise ValueError(
            f"samples must be in [-1, 1], got {peak:g}; divide 16-bit integers by 32768"
        )
    return array
