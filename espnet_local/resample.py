"""Resampling a stream to 16 kHz, equal to resampling the whole recording at once.

soxr's own stream holds back 40 to 115 ms of audio. Here soxr resamples overlapping windows, each
with enough samples on both sides for its filter, and the middles are joined: 20 ms are held back at
8 kHz, 10 ms from 16 kHz on, and the result is that of `soxr.resample` to 1e-6. N samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import soxr

from espnet_local.config import SAMPLE_RATE

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MARGIN_PERIODS = 160  # of the lower of both rates: half of soxr's filter and more


class Resampled(NamedTuple):
    """What a packet made ready."""

    samples: np.ndarray  # (N,) float32 at 16 kHz
    resampler: Resampler  # for the next packet


@dataclass(frozen=True, kw_only=True)
class Resampler:
    """The state of resampling one stream, a value."""

    rate: int  # Hz, of the input
    start: int  # the number of the first sample in `kept`
    kept: np.ndarray  # (N,) float32, input that later output needs
    given: int  # output samples so far

    @classmethod
    def at(cls, rate: int) -> Resampler:
        """Before the first sample.

        Raises:
            ValueError: for a rate that is no rate.
        """
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"sample_rate must be in [{MIN_RATE}, {MAX_RATE}] Hz, got {rate}")
        return cls(rate=rate, start=0, kept=np.zeros(0, np.float32), given=0)

    def push(self, samples: np.ndarray, last: bool = False) -> Resampled:
        """Takes in (N,) samples and gives those at 16 kHz that are ready; all when `last`."""
        if self.rate == SAMPLE_RATE:
            return Resampled(samples, self)
        kept = np.concatenate([self.kept, samples])
        common = math.gcd(self.rate, SAMPLE_RATE)
        # `period` input samples are exactly `steps` output samples.
        period, steps = self.rate // common, SAMPLE_RATE // common
        margin = math.ceil(MARGIN_PERIODS * max(1.0, self.rate / SAMPLE_RATE))
        first = self.start * steps // period  # the output sample at kept[0]
        received = self.start + len(kept)
        ready = (received - margin) * steps // period
        if not last and ready <= self.given:
            return Resampled(np.zeros(0, np.float32), replace(self, kept=kept))
        window = soxr.resample(kept, self.rate, SAMPLE_RATE) if len(kept) else kept
        stop = first + len(window) if last else ready
        # Windows start at multiples of the period, where input and output samples coincide.
        start = max(self.start, (stop * period // steps - margin) // period * period)
        after = replace(self, start=start, kept=kept[start - self.start :], given=stop)
        return Resampled(window[self.given - first : stop - first], after)
