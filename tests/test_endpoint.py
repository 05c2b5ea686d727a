"""Endpoint rules on label sequences; one frame is 20 ms."""

import pytest

from espnet_local.decode.endpoint import Endpoint, EndpointRules, find_endpoint

RULES = EndpointRules()
WORDS = ["▁", "o", "n", "e", "▁", "t", "w", "o"]
FRAMES = [10, 12, 14, 16, 100, 102, 104, 106]


@pytest.mark.parametrize(
    ("pieces", "stable", "start", "now", "expected"),
    [
        ([], 0, 0, 119, None),  # 2.38 s of nothing
        ([], 0, 0, 120, Endpoint(0, 120)),  # rule 1: 2.4 s
        ([], 0, 50, 120, None),  # counted from the segment's start
        (WORDS, 8, 0, 166, None),  # 1.18 s behind the last label
        (WORDS, 8, 0, 167, Endpoint(8, 167)),  # rule 2: 1.2 s
        (WORDS, 7, 0, 400, None),  # the last label may still change
        (WORDS, 8, 0, 110, None),
        (WORDS, 7, 0, 1000, Endpoint(4, 100)),  # rule 3: 20 s; the word not finished goes on
        (WORDS, 7, 1, 1000, None),
        (WORDS[:4], 3, 0, 1000, None),  # one word, not finished
    ],
)
def test_rules(pieces, stable, start, now, expected):
    found = find_endpoint(RULES, pieces, FRAMES[: len(pieces)], stable, start, now)
    assert found == expected


def test_each_rule_can_be_set():
    quick = EndpointRules(rule2_min_trailing_silence=0.1)
    assert find_endpoint(quick, WORDS, FRAMES, 8, 0, 112) == Endpoint(8, 112)


def test_a_rule_of_no_time_is_an_error():
    with pytest.raises(ValueError, match="rule3_min_utterance_length must be > 0 s, got 0"):
        EndpointRules(rule3_min_utterance_length=0.0)
