"""Masks against a slow loop over the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_local.config import ContextSpec
from espnet_local.masks import attention_mask, context_mask, padding_mask

contexts = st.one_of(
    st.just(ContextSpec()),
    st.builds(
        ContextSpec,
        chunk_frames=st.integers(1, 12),
        left_chunks=st.one_of(st.none(), st.integers(0, 4)),
        sink_frames=st.integers(0, 20),
    ),
)


def may_attend(q: int, k: int, context: ContextSpec) -> bool:
    """The definition, word by word."""
    if context.chunk_frames is None:
        return True
    query_chunk, key_chunk = q // context.chunk_frames, k // context.chunk_frames
    if key_chunk > query_chunk:
        return False
    if context.left_chunks is None:
        return True
    return key_chunk >= query_chunk - context.left_chunks or k < context.sink_frames


@given(contexts, st.integers(0, 40), st.integers(1, 40), st.integers(0, 40), st.integers(1, 40))
def test_mask_is_the_definition_for_any_frames(context, first_q, count_q, first_k, count_k):
    queries = torch.arange(first_q, first_q + count_q)
    keys = torch.arange(first_k, first_k + count_k)
    expected = [[may_attend(q, k, context) for k in keys.tolist()] for q in queries.tolist()]
    assert context_mask(queries, keys, context).tolist() == expected


def test_mask_printed_in_the_docstring_is_true():
    drawn = [line.strip() for line in (context_mask.__doc__ or "").splitlines()]
    drawn = [line for line in drawn if line and set(line) <= {"1", "."}]
    frames = torch.arange(9)
    mask = context_mask(frames, frames, ContextSpec(chunk_frames=2, left_chunks=1, sink_frames=1))
    assert ["".join("1" if seen else "." for seen in row) for row in mask.tolist()] == drawn


def test_sinks_stay_visible_after_left_context_moves_on():
    last = torch.tensor([99])
    mask = context_mask(
        last, torch.arange(100), ContextSpec(chunk_frames=10, left_chunks=1, sink_frames=4)
    )
    assert mask[0].nonzero().flatten().tolist() == [0, 1, 2, 3, *range(80, 100)]


@given(contexts, st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_batch_mask_hides_padding_and_leaves_no_row_empty(context, lengths):
    longest = max(max(lengths), 1)
    mask = attention_mask(torch.tensor(lengths), longest, context)
    if mask is None:
        assert context.chunk_frames is None
        assert set(lengths) == {longest}
        return
    assert mask.shape == (len(lengths), 1, longest, longest)
    for b, length in enumerate(lengths):
        for q in range(length):
            expected = [k < length and may_attend(q, k, context) for k in range(longest)]
            assert mask[b, 0, q].tolist() == expected
    assert mask.any(-1).all()


def test_padding_mask_marks_the_frames_that_exist():
    assert padding_mask(torch.tensor([0, 2]), 3).tolist() == [[False] * 3, [True, True, False]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chunk_frames": 0}, "chunk_frames must be >= 1 or null, got 0"),
        ({"chunk_frames": 4, "left_chunks": -1}, "left_chunks must be >= 0 or null, got -1"),
        ({"chunk_frames": 4, "sink_frames": -2}, "sink_frames must be >= 0, got -2"),
        ({"sink_frames": 4}, "need a chunk_frames"),
    ],
)
def test_impossible_context_is_refused_with_field_and_value(values, message):
    with pytest.raises(ValueError, match=message):
        ContextSpec(**values)
