"""Latency by its definitions, on examples worked out by hand."""

import numpy as np
import pytest

from espnet_local.config import ContextSpec
from espnet_local.metrics import (
    EmissionTimes,
    StreamCost,
    TimedWord,
    algorithmic_latency_ms,
    emission_delays,
    peak_memory_mb,
    percentiles_ms,
    read_ctm,
    reset_peak_memory,
    timed_words,
)


def test_algorithmic_latency_is_the_chunk_and_what_the_front_end_sees_past_it():
    assert algorithmic_latency_ms(ContextSpec(chunk_frames=16)) == 325
    assert algorithmic_latency_ms(ContextSpec()) is None


def test_a_token_is_emitted_when_it_stands_to_stay():
    times = EmissionTimes()
    times.observe(0.5, ["▁a", "b"])
    times.observe(1.0, ["▁a", "c"])
    times.observe(1.5, ["▁a"])
    times.observe(2.0, ["▁a", "b", "▁d"])
    times.observe(2.5, ["▁a", "b", "▁d"])
    assert times.seconds() == (0.5, 2.0, 2.0)


def test_a_token_behind_one_that_changes_has_to_wait_for_it():
    times = EmissionTimes()
    times.observe(1.0, ["▁a", "b", "▁c"])
    times.observe(2.0, ["▁a", "x", "▁c"])
    assert times.seconds() == (1.0, 2.0, 2.0)


def test_words_are_complete_with_their_last_token():
    pieces = ["▁", "o", "n", "e", "▁", "▁two"]
    words = timed_words(pieces, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert words == [TimedWord("one", 0.4), TimedWord("two", 0.6)]
    assert timed_words(["o", "ne"], [1.0, 2.0]) == [TimedWord("one", 2.0)]
    with pytest.raises(ValueError, match="1 tokens must have as many times, got 0"):
        timed_words(["a"], [])


def test_delays_are_those_of_correct_words():
    spoken = [TimedWord("a", 1.0), TimedWord("b", 2.0), TimedWord("c", 3.0)]
    found = [TimedWord("a", 1.5), TimedWord("x", 2.1), TimedWord("y", 2.2), TimedWord("c", 3.1)]
    delays = emission_delays(spoken, found)
    assert delays.words == pytest.approx((0.5, 0.1))
    assert delays.first == pytest.approx(0.5)


def test_an_utterance_whose_first_word_is_wrong_has_no_first_word_delay():
    spoken = [TimedWord("a", 1.0), TimedWord("b", 2.0)]
    assert emission_delays(spoken, [TimedWord("b", 2.5)]).first is None
    assert emission_delays(spoken, []).words == ()


def test_percentiles_are_in_ms():
    assert percentiles_ms([0.001 * n for n in range(101)]) == pytest.approx((50.0, 90.0, 99.0))
    assert percentiles_ms([]) is None


def test_costs_of_jobs_add_up():
    costs = [
        StreamCost(
            audio_seconds=a, computing_seconds=1, finalisation_seconds=(a,), peak_memory_mb=a
        )
        for a in (4.0, 6.0)
    ]
    total = StreamCost.of_all(costs)
    assert total.real_time_factor == pytest.approx(0.2)
    assert (total.finalisation_seconds, total.peak_memory_mb) == ((4.0, 6.0), 6.0)


def test_peak_memory_counts_from_its_reset():
    block = np.ones(50_000_000)  # 400 MB
    high = peak_memory_mb()
    del block
    reset_peak_memory()
    assert peak_memory_mb() < high - 300


def test_a_ctm_gives_words_and_their_ends(tmp_path):
    path = tmp_path / "words.ctm"
    path.write_text(";; comment\nu1 1 0.10 0.25 one\nu1 1 0.50 0.25 two 0.9\nu2 1 0 1 x\n")
    assert read_ctm(path) == {
        "u1": [TimedWord("one", 0.35), TimedWord("two", 0.75)],
        "u2": [TimedWord("x", 1.0)],
    }
    path.write_text("u1 1 0.10 one\n")
    with pytest.raises(ValueError, match="words.ctm:1: not a line of a CTM"):
        read_ctm(path)
