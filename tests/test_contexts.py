"""Draws of contexts for multi-chunk training."""

from collections import Counter

import pytest

from espnet_local.config import ContextSpec
from espnet_local.contexts import ContextDraws, parse_contexts


def test_scalars_are_lists_of_one():
    draws = parse_contexts({"chunk_frames": 16, "left_chunks": 1, "sink_frames": 4})
    only = ContextSpec(chunk_frames=16, left_chunks=1, sink_frames=4)
    assert draws.contexts() == (only,)
    assert draws.draw(seed=3, batch=7) == draws.first == only


def test_nothing_given_is_full_context():
    assert parse_contexts({}).contexts() == (ContextSpec(),)


def test_draw_depends_on_seed_and_batch_alone():
    draws = ContextDraws(chunk_frames=(16, 32, 64), left_chunks=(1, 2, None))
    sequence = [draws.draw(1, batch) for batch in range(50)]
    assert sequence == [draws.draw(1, batch) for batch in range(50)]
    assert sequence != [draws.draw(2, batch) for batch in range(50)]


def test_draws_are_uniform_over_all_combinations():
    draws = ContextDraws(chunk_frames=(16, 32), left_chunks=(1, None), sink_frames=(0, 4))
    counts = Counter(draws.draw(0, batch) for batch in range(8000))
    assert set(counts) == set(draws.contexts())
    assert len(counts) == 8
    assert all(850 < count < 1150 for count in counts.values())


def test_full_context_among_chunks_stands_for_itself():
    draws = ContextDraws(chunk_frames=(16, None), left_chunks=(1, 2), sink_frames=(4,))
    assert [context.name for context in draws.contexts()] == [
        "320ms_left1_sink4",
        "320ms_left2_sink4",
        "full",
    ]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"chunk_frame": 16}, "unknown key 'chunk_frame', did you mean 'chunk_frames'"),
        ({"chunk_frames": []}, "chunk_frames must list at least one value"),
        ({"chunk_frames": [16, 0]}, "chunk_frames must be >= 1 or null, got 0"),
        ({"left_chunks": 1}, "need a chunk_frames"),
        ({"chunk_frames": "16"}, "got '16'"),
    ],
)
def test_bad_contexts_are_refused_with_a_hint(mapping, message):
    with pytest.raises(ValueError, match=message):
        parse_contexts(mapping)
