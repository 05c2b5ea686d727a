"""A resampled stream is the resampled recording."""

import random

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_local.resample import Resampler

RATES = st.one_of(
    st.sampled_from([8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]),
    st.integers(1_000, 100_000),
)


@given(rate=RATES, seconds=st.floats(0, 0.6), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=80)
def test_any_packets_at_any_rate_give_what_soxr_gives_for_the_whole(rate, seconds, seed):
    chooser = random.Random(seed)
    samples = np.random.default_rng(seed).uniform(-1, 1, int(rate * seconds)).astype(np.float32)
    resampler, found, at = Resampler.at(rate), [], 0
    while at < len(samples):
        packet = samples[at : at + chooser.randint(0, rate // 4)]
        at += len(packet)
        ready, resampler = resampler.push(packet)
        found.append(ready)
    found.append(resampler.push(np.zeros(0, np.float32), last=True).samples)
    whole = soxr.resample(samples, rate, 16_000) if rate != 16_000 and len(samples) else samples
    joined = np.concatenate(found)
    assert joined.dtype == np.float32
    assert len(joined) == len(whole)
    np.testing.assert_allclose(joined, whole, atol=2e-5)


@pytest.mark.parametrize(("rate", "held_back_ms"), [(8_000, 20), (44_100, 10), (48_000, 10)])
def test_little_is_held_back_and_little_is_kept(rate, held_back_ms):
    resampler, given_samples = Resampler.at(rate), 0
    for second in range(20):
        packet = np.random.default_rng(second).uniform(-1, 1, rate).astype(np.float32)
        ready, resampler = resampler.push(packet)
        given_samples += len(ready)
    assert 20_000 - given_samples / 16 <= held_back_ms + 0.1
    assert len(resampler.kept) < rate / 10


def test_a_resampler_is_a_value():
    start = Resampler.at(8_000)
    packet = np.linspace(-1, 1, 4_000, dtype=np.float32)
    first, second = start.push(packet).samples, start.push(packet).samples
    np.testing.assert_array_equal(first, second)
    assert len(start.kept) == 0
