"""The cached stream equals the masked offline pass, whatever packets, ages and batches."""

import random
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_encoder import make_encoder, noise

from espnet_local.config import ContextSpec
from espnet_local.encoder.cache import chunk_samples
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.state import batch_size, from_bytes, select, stack, to_bytes

TOLERANCE = 1e-4
CONTEXT = ContextSpec(chunk_frames=4, left_chunks=1, sink_frames=6)


@pytest.fixture(scope="module")
def encoder() -> StreamingEncoder:
    return make_encoder()


contexts = st.builds(
    ContextSpec,
    chunk_frames=st.integers(1, 64),
    left_chunks=st.one_of(st.none(), st.integers(0, 4)),
    sink_frames=st.integers(0, 16),
)


@dataclass
class Feeder:
    """One stream: what is left of its samples, and the frames so far."""

    samples: torch.Tensor
    state: object
    frames: list = field(default_factory=list)
    at: int = 0
    ended: bool = False


def stream_all(encoder, utterances, context, chooser, largest_packet=12_000):
    """Streams utterances in random packets; they join late, leave early, and share steps."""
    waiting = [Feeder(samples, encoder.init_state(1, context)) for samples in utterances]
    feeders, live = list(waiting), []
    while waiting or live:
        if waiting and (not live or chooser.random() < 0.4):
            live.append(waiting.pop(0))
        chosen = [f for f in live if chooser.random() < 0.8] or live[:1]
        counts = [min(chooser.randint(0, largest_packet), len(f.samples) - f.at) for f in chosen]
        packet = torch.full((len(chosen), max(counts)), float("nan"))  # padding must not matter
        for row, feeder, count in zip(packet, chosen, counts):
            row[:count] = feeder.samples[feeder.at : feeder.at + count]
            feeder.at += count
            feeder.ended = feeder.at == len(feeder.samples) and chooser.random() < 0.7
        out = encoder.step(
            packet,
            stack([f.state for f in chosen]),
            torch.tensor(counts),
            torch.tensor([f.ended for f in chosen]),
        )
        for i, feeder in enumerate(chosen):
            feeder.state = select(out.state, [i])
            feeder.frames.append(out.frames[i, : out.lengths[i]])
            assert (out.frames[i, out.lengths[i] :] == 0).all()
        live = [f for f in live if not f.ended]
    return [torch.cat(feeder.frames) for feeder in feeders]


def assert_equals_offline(encoder, utterances, found, context):
    for samples, frames in zip(utterances, found):
        with torch.no_grad():
            whole = samples[None], torch.tensor([len(samples)])
            expected, lengths = encoder.forward_context(*whole, context)
        assert len(frames) == lengths[0]
        torch.testing.assert_close(frames, expected[0], atol=TOLERANCE, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    context=contexts,
    batch=st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
def test_a_stream_equals_the_masked_offline_pass(encoder, context, batch, seed):
    chooser = random.Random(seed)
    lengths = [chooser.randint(0, chooser.choice([500, 60_000])) for _ in range(batch)]
    utterances = [noise(length, seed=seed + i) for i, length in enumerate(lengths)]
    found = stream_all(encoder, utterances, context, chooser)
    assert_equals_offline(encoder, utterances, found, context)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("context", "seed"),
    [
        (ContextSpec(chunk_frames=16, left_chunks=1, sink_frames=16), 1),
        (ContextSpec(chunk_frames=7, left_chunks=None), 2),
        (ContextSpec(chunk_frames=40, left_chunks=0, sink_frames=3), 3),
    ],
)
def test_a_stream_of_the_300_m_model_equals_the_masked_offline_pass(large_encoder, context, seed):
    utterances = [noise(length, seed=seed) for length in (26_000, 9_000)]
    found = stream_all(large_encoder, utterances, context, random.Random(seed), 16_000)
    assert_equals_offline(large_encoder, utterances, found, context)


@pytest.fixture(scope="module")
def large_encoder() -> StreamingEncoder:
    torch.manual_seed(0)
    return StreamingEncoder(EncoderSpec(size="xlsr_300m")).eval()


def test_a_stream_hears_its_sinks_after_the_left_context_has_moved_on(encoder):
    # The counterpart of the equality above: were caches never read, this would fail.
    samples = noise(1, 40_000)
    changed = samples.clone()
    changed[:, :1_000] += noise(1, 1_000, seed=9)
    no_sinks = ContextSpec(chunk_frames=4, left_chunks=1)
    for context, expected in ((CONTEXT, True), (no_sinks, False)):
        last = []
        for given_samples in (samples, changed):
            # The same statistics of the waveform, so that only attention can tell.
            state = encoder.init_state(1, context)
            first = encoder.step(given_samples[:, :20_000], state).state
            same = encoder.step(samples[:, :20_000], state).state
            first = type(first)(
                **{**vars(first), "statistics": same.statistics, "past_frames": same.past_frames}
            )
            for at in range(20_000, 40_000, 4_000):
                out = encoder.step(samples[:, at : at + 4_000], first)
                first = out.state
            last.append(out.frames)
        assert (not torch.allclose(*last, atol=1e-5)) == expected


def test_memory_of_a_stream_is_bounded_unless_its_left_context_is_all(encoder):
    def numbers(context, seconds):
        state = encoder.init_state(1, context)
        for second in range(seconds):
            state = encoder.step(noise(1, 16_000, seed=second), state).state
        return len(to_bytes(state))

    assert numbers(CONTEXT, 2) == numbers(CONTEXT, 6)
    unbounded = ContextSpec(chunk_frames=4)
    assert numbers(unbounded, 6) > 2 * numbers(unbounded, 2)


def test_a_stream_with_all_of_its_left_context_sheds_the_padding_of_an_older_neighbour(encoder):
    context = ContextSpec(chunk_frames=4)
    old = encoder.step(noise(1, 60_000), encoder.init_state(1, context)).state
    both = encoder.step(noise(2, 9_000), stack([old, encoder.init_state(1, context)])).state
    young = encoder.step(noise(1, 9_000), select(both, [1])).state
    assert young.left_keys.shape[3] == young.frames_seen[0] < 60


def test_a_stream_that_has_ended_stays_ended(encoder):
    last = torch.tensor([True, False])
    state = encoder.step(noise(2, 500), encoder.init_state(2, CONTEXT), last=last).state
    state = encoder.step(noise(2, 500), state, torch.tensor([0, 500])).state
    assert state.finished.tolist() == [True, False]


def test_select_then_step_is_step_then_select(encoder):
    state = encoder.step(noise(3, 9_000), encoder.init_state(3, CONTEXT)).state
    more = noise(3, 7_000, seed=1)
    together = encoder.step(more, state)
    alone = encoder.step(more[[2, 0]], select(state, [2, 0]))
    torch.testing.assert_close(together.frames[[2, 0]], alone.frames, atol=1e-5, rtol=0)
    picked = select(together.state, [2, 0])
    torch.testing.assert_close(picked.left_keys, alone.state.left_keys, atol=1e-5, rtol=0)


def test_a_step_leaves_the_state_it_was_given_alone(encoder):
    state = encoder.step(noise(2, 9_000), encoder.init_state(2, CONTEXT)).state
    before = to_bytes(state)
    encoder.step(noise(2, 9_000, seed=1), state)
    assert to_bytes(state) == before


def test_a_stored_state_goes_on_bit_for_bit(encoder):
    state = encoder.step(noise(2, 9_000), encoder.init_state(2, CONTEXT)).state
    stored = to_bytes(state)
    restored = from_bytes(encoder.init_state(1, CONTEXT), stored)
    assert to_bytes(restored) == stored
    more = noise(2, 9_000, seed=1)
    assert torch.equal(encoder.step(more, state).frames, encoder.step(more, restored).frames)


def test_a_stream_with_all_of_its_left_context_can_be_stored_and_joined_by_a_younger(encoder):
    context = ContextSpec(chunk_frames=4)
    old = encoder.step(noise(1, 30_000), encoder.init_state(1, context)).state
    old = from_bytes(encoder.init_state(1, context), to_bytes(old))
    both = stack([encoder.init_state(1, context), old])
    assert batch_size(both) == 2
    more = noise(2, 9_000, seed=1)
    alone = encoder.step(more[1:], old).frames
    together = encoder.step(more, both).frames
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "not the bytes of a state"),
        (lambda b: b"not a state", "not the bytes of a state"),
        (lambda b: b"", "not the bytes of a state"),
        (lambda b: b.replace(b"EncoderState", b"EncoderStale"), "kind EncoderState, got 'Encoder"),
    ],
)
def test_bytes_that_are_no_state_are_an_error(encoder, damage, message):
    state = encoder.init_state(1, CONTEXT)
    with pytest.raises(ValueError, match=message):
        from_bytes(state, damage(to_bytes(state)))


def test_a_state_of_another_context_is_an_error(encoder):
    state = encoder.init_state(1, CONTEXT)
    other = encoder.init_state(1, ContextSpec(chunk_frames=8, left_chunks=1))
    with pytest.raises(
        ValueError, match=r"context must be .*chunk_frames=4.*, got .*chunk_frames=8"
    ):
        from_bytes(state, to_bytes(other))
    with pytest.raises(ValueError, match="must be of one shape|must be the same"):
        stack([state, other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((noise(2, 10),), r"samples must be of shape \(1, N\), got \(2, 10\)"),
        ((noise(1, 10), torch.tensor([11])), r"lengths must be in \[0, 10\] samples, got \[11\]"),
        ((noise(1, 10), torch.tensor([1, 1])), r"must be of shape \(1,\)"),
    ],
)
def test_steps_of_ill_shaped_batches_are_errors(encoder, arguments, message):
    samples, *lengths = arguments
    with pytest.raises(ValueError, match=message):
        encoder.step(samples, encoder.init_state(1, CONTEXT), *lengths)


def test_samples_after_the_last_ones_are_an_error(encoder):
    last = torch.tensor([True, False])
    state = encoder.step(noise(2, 500), encoder.init_state(2, CONTEXT), last=last).state
    with pytest.raises(ValueError, match=r"after the last ones in streams \[0\]"):
        encoder.step(noise(2, 500), state)
    encoder.step(noise(2, 500), state, torch.tensor([0, 500]))


@pytest.mark.parametrize("rows", [torch.tensor([False, True]), [0.5], [2], [-1]])
def test_rows_that_are_none_are_an_error(encoder, rows):
    with pytest.raises(ValueError, match="rows must be"):
        select(encoder.init_state(2, CONTEXT), rows)


def test_full_context_cannot_stream(encoder):
    with pytest.raises(ValueError, match="a stream needs chunk_frames, got full context"):
        encoder.init_state(1, ContextSpec())


def test_a_chunk_is_given_as_soon_as_its_samples_and_80_more_are_there(encoder):
    state = encoder.init_state(1, CONTEXT)
    window = chunk_samples(4)
    assert window == 4 * 320 + 80
    early = encoder.step(noise(1, window - 1), state)
    assert early.frames.shape[1] == 0
    assert encoder.step(noise(1, 1), early.state).frames.shape[1] == 4
