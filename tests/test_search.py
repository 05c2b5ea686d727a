"""Greedy and beam search against slow references, in batches, under padding and in pieces."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_local.decode import beam as beam_module
from espnet_local.decode.beam import BeamSearch, beam_search
from espnet_local.decode.greedy import GreedySearch, greedy_search
from espnet_local.decode.hypothesis import Labels
from espnet_local.decode.search import decode
from espnet_local.transducer.joiner import Joiner, JoinerSpec
from espnet_local.transducer.predictor import PredictorSpec, StatelessPredictor

WIDTH = 4
BLANK = 0


def make_model(seed, vocab=4, blank_bias=0.0):
    torch.manual_seed(seed)
    predictor = StatelessPredictor(vocab, PredictorSpec(dim=5), blank=BLANK).eval()
    joiner = Joiner(vocab, WIDTH, 5, JoinerSpec(dim=6)).eval()
    with torch.no_grad():
        joiner.lin_out.weight.mul_(4)
        joiner.lin_out.bias[BLANK] += blank_bias
    return predictor, joiner


def make_frames(seed, *lengths, padding=50.0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.full((len(lengths), max(lengths), WIDTH), padding)
    for row, length in zip(frames, lengths):
        row[:length] = 2 * torch.randn(length, WIDTH, generator=generator)
    return frames, torch.tensor(lengths)


@torch.no_grad()
def label_logprobs(predictor, joiner, frame, labels):
    prediction = predictor(torch.tensor([[BLANK, *labels]]))[0, -1]
    return joiner(frame, prediction).log_softmax(dim=-1).tolist()


def slow_greedy(predictor, joiner, frames):
    labels, times, logprobs, score = [], [], [], 0.0
    for t, frame in enumerate(frames):
        logprob = label_logprobs(predictor, joiner, frame, labels)
        label = max(range(len(logprob)), key=logprob.__getitem__)
        score += logprob[label]
        if label != BLANK:
            labels.append(label)
            times.append(t)
            logprobs.append(logprob[label])
    return tuple(labels), tuple(times), tuple(logprobs), score


def slow_beam(predictor, joiner, frames, beam, settle_every=None, doubt=None):
    """Extends by every label, adds up what is equal, keeps the best: labels -> (score, past)."""
    kept = {(): (0.0, ())}
    for t, frame in enumerate(frames):
        arrivals = {}
        for labels, (score, past) in kept.items():
            for label, logprob in enumerate(label_logprobs(predictor, joiner, frame, labels)):
                longer = labels if label == BLANK else (*labels, label)
                way = past if label == BLANK else (*past, (t, logprob))
                arrivals.setdefault(longer, []).append((score + logprob, way))
        merged = {
            labels: (math.log(sum(math.exp(score) for score, _ in ways)), max(ways)[1])
            for labels, ways in arrivals.items()
        }
        best = sorted(merged, key=lambda labels: merged[labels][0], reverse=True)[:beam]
        kept = {labels: merged[labels] for labels in best}
        if settle_every and (t + 1) % settle_every == 0:
            kept = without_old_contradictions(kept, t + 1 - doubt)
    return kept


def without_old_contradictions(kept, limit):
    """Hypotheses that agree with the best in all labels that either emitted before `limit`."""
    best = max(kept, key=lambda labels: kept[labels][0] / (1 + len(labels)))

    def agrees(labels):
        shared = 0
        while shared < min(len(labels), len(best)) and labels[shared] == best[shared]:
            shared += 1
        differing = kept[labels][1][shared:] + kept[best][1][shared:]
        return all(frame >= limit for frame, _ in differing)

    return {labels: value for labels, value in kept.items() if agrees(labels)}


@given(seed=st.integers(0, 500), length=st.integers(1, 12), blank_bias=st.sampled_from([0.0, 2.0]))
@settings(deadline=None, max_examples=40)
def test_greedy_equals_a_slow_loop(seed, length, blank_bias):
    model = make_model(seed, blank_bias=blank_bias)
    frames, lengths = make_frames(seed, length)
    found = greedy_search(*model, frames, lengths)[0]
    labels, times, logprobs, score = slow_greedy(*model, frames[0])
    assert (found.tokens, found.timestamps) == (labels, times)
    assert found.token_logprobs == pytest.approx(logprobs, abs=1e-4)
    assert found.score == pytest.approx(score, abs=1e-4)


@given(
    seed=st.integers(0, 500),
    length=st.integers(1, 10),
    beam=st.integers(1, 6),
    vocab=st.integers(2, 4),
    blank_bias=st.sampled_from([0.0, 2.0]),
)
@settings(deadline=None, max_examples=80)
def test_beam_equals_a_slow_loop_over_a_dictionary(seed, length, beam, vocab, blank_bias):
    model = make_model(seed, vocab, blank_bias)
    frames, lengths = make_frames(seed, length)
    kept = slow_beam(*model, frames[0], beam)
    expected = max(kept, key=lambda labels: kept[labels][0] / (1 + len(labels)))
    found = beam_search(*model, frames, lengths, beam)[0]
    assert found.tokens == expected
    score, past = kept[expected]
    assert found.score == pytest.approx(score, abs=1e-4)
    assert found.timestamps == tuple(t for t, _ in past)
    assert found.token_logprobs == pytest.approx([logprob for _, logprob in past], abs=1e-4)


@pytest.fixture
def short_doubt(monkeypatch):
    """Labels settle within a few frames."""
    monkeypatch.setattr(beam_module, "SETTLE_EVERY_FRAMES", 3)
    monkeypatch.setattr(beam_module, "DOUBT_FRAMES", 4)
    monkeypatch.setattr(beam_module, "RECENT_LABELS", 11)


def of_slow(kept):
    return max(kept, key=lambda labels: kept[labels][0] / (1 + len(labels)))


# Models whose hypotheses contradict each other for long: without giving up they find other labels.
@given(seed=st.integers(0, 500), length=st.integers(8, 40), blank_bias=st.sampled_from([0.0, 2.0]))
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_hypotheses_that_contradict_the_best_in_old_labels_are_given_up(
    short_doubt, seed, length, blank_bias
):
    model = make_model(seed, 4, blank_bias)
    # Another row, longer: what settles in one row must not depend on its neighbours.
    frames, lengths = make_frames(seed, length, length + 7)
    kept = slow_beam(*model, frames[0, :length], 4, settle_every=3, doubt=4)
    found = beam_search(*model, frames, lengths, 4)[0]
    assert found.tokens == of_slow(kept)
    assert found.score == pytest.approx(kept[found.tokens][0], abs=1e-4)
    assert list(found.timestamps) == sorted(found.timestamps)


def test_times_do_not_run_backwards_where_another_hypothesis_becomes_the_best(short_doubt):
    # Two of 50 000 utterances tried, in which they would.
    for seed, blank_bias, row in ((517, 1.0, 12), (1039, 0.0, 4)):
        model = make_model(seed, 4, blank_bias)
        found = beam_search(*model, *make_frames(seed, *[40] * 16), 4)[row]
        assert list(found.timestamps) == sorted(found.timestamps)


@given(seed=st.integers(0, 500), packet=st.integers(1, 20), beam=st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_what_is_stable_keeps_its_times_and_nothing_behind_it_is_earlier(seed, packet, beam):
    search = BeamSearch(*make_model(seed, 4, 1.0), beam)
    # Frames that resemble each other: hypotheses then have the same labels at different times.
    frames = make_frames(seed, *[25] * 8)[0].repeat_interleave(3, dim=1)
    state = search.init_state(8, frames.device)
    certain, promised, earliest = [Labels()] * 8, [Labels()] * 8, [0] * 8
    for piece in frames.split(packet, dim=1):
        state, emitted = search.advance(state, piece, torch.full((8,), piece.shape[1]))
        for b, pending in enumerate(search.pending(state)):
            certain[b] += emitted[b]
            found = certain[b] + pending.labels
            kept = len(promised[b])
            assert found.tokens[:kept] == promised[b].tokens
            assert found.timestamps[:kept] == promised[b].timestamps
            assert found.token_logprobs[:kept] == pytest.approx(promised[b].token_logprobs)
            assert list(found.timestamps) == sorted(found.timestamps)
            assert all(frame >= earliest[b] for frame in found.timestamps[kept:])
            promised[b] = found.part(0, len(certain[b]) + pending.stable)
            earliest[b] = pending.earliest
    offline = decode(search, frames, torch.full((8,), 75))
    for b, (pending, whole) in enumerate(zip(search.pending(state), offline)):
        found = certain[b] + pending.labels
        assert (found.tokens, found.timestamps) == (whole.tokens, whole.timestamps)
        assert found.token_logprobs == pytest.approx(whole.token_logprobs, abs=1e-4)


def test_giving_up_changes_what_is_found(short_doubt):
    # The counterpart: were nothing given up, the test above could not fail.
    differing = 0
    for seed in range(60):
        model = make_model(seed, 4, 1.0)
        frames, lengths = make_frames(seed, 40)
        kept = slow_beam(*model, frames[0], 4)
        differing += beam_search(*model, frames, lengths, 4)[0].tokens != of_slow(kept)
    assert differing > 3


@given(seed=st.integers(0, 500), length=st.integers(2, 8))
@settings(deadline=None, max_examples=20)
def test_hypotheses_in_the_beam_differ_and_their_scores_are_those_of_the_slow_loop(seed, length):
    predictor, joiner = make_model(seed, vocab=3)
    frames, lengths = make_frames(seed, length)
    search = BeamSearch(predictor, joiner, 5)
    state = search.advance(search.init_state(1, frames.device), frames, lengths).state
    kept = slow_beam(predictor, joiner, frames[0], 5)
    scores = sorted((score for score, _ in kept.values()), reverse=True)
    assert state.score[0, : len(scores)].tolist() == pytest.approx(scores, abs=1e-4)
    live = state.key[0][state.score[0].isfinite()].tolist()
    assert len(set(map(tuple, live))) == len(live) == len(scores)


def test_a_beam_that_prunes_nothing_holds_all_probability():
    model = make_model(1, vocab=3)
    frames, lengths = make_frames(1, 5)
    kept = slow_beam(*model, frames[0], 10_000)
    assert sum(math.exp(score) for score, _ in kept.values()) == pytest.approx(1.0, abs=1e-5)
    search = BeamSearch(*model, len(kept))
    state = search.advance(search.init_state(1, frames.device), frames, lengths).state
    assert state.score.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@given(seed=st.integers(0, 500), length=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_a_beam_of_one_is_greedy(seed, length):
    model = make_model(seed, blank_bias=1.0)
    batch = make_frames(seed, length)
    found, expected = beam_search(*model, *batch, 1)[0], greedy_search(*model, *batch)[0]
    assert (found.tokens, found.timestamps) == (expected.tokens, expected.timestamps)
    assert found.token_logprobs == pytest.approx(expected.token_logprobs, abs=1e-5)
    assert found.score == pytest.approx(expected.score, abs=1e-4)


def searches():
    return {
        "greedy": greedy_search,
        "beam": lambda *arguments: beam_search(*arguments, 4),
    }


def assert_same(found, expected):
    assert (found.tokens, found.timestamps) == (expected.tokens, expected.timestamps)
    assert found.token_logprobs == pytest.approx(expected.token_logprobs, abs=1e-4)
    assert found.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize("name", searches())
@given(
    seed=st.integers(0, 500),
    lengths=st.lists(st.integers(1, 10), min_size=1, max_size=4),
    padding=st.sampled_from([-50.0, 0.0, 50.0]),
)
@settings(deadline=None, max_examples=30)
def test_batches_and_padding_change_nothing(name, seed, lengths, padding):
    search = searches()[name]
    model = make_model(seed)
    frames, rows = make_frames(seed, *lengths, 11, padding=padding)
    for b, found in enumerate(search(*model, frames, rows)):
        alone = frames[b : b + 1, : rows[b]]
        assert_same(found, search(*model, alone, rows[b : b + 1])[0])


@given(seed=st.integers(0, 500), cuts=st.lists(st.integers(0, 6), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_streams_of_different_ages_advance_as_they_would_offline(seed, cuts):
    """Row 0 takes `cuts` frames at a time, row 1 the same in reverse order."""
    predictor, joiner = make_model(seed)
    total = max(1, sum(cuts))
    frames, _ = make_frames(seed, total, total)
    greedy, beam = GreedySearch(predictor, joiner), BeamSearch(predictor, joiner, 4)
    greedy_state = greedy.init_state(2, frames.device)
    beam_state = beam.init_state(2, frames.device)
    pieces, certain = [[], []], [Labels(), Labels()]
    at = [0, 0]
    for lengths in zip(cuts, reversed(cuts)):
        piece = torch.full((2, 6, WIDTH), 9.0)
        for b in range(2):
            piece[b, : lengths[b]] = frames[b, at[b] : at[b] + lengths[b]]
            at[b] += lengths[b]
        arguments = piece, torch.tensor(lengths)
        greedy_state, emitted = greedy.advance(greedy_state, *arguments)
        beam_state, settled = beam.advance(beam_state, *arguments)
        for b in range(2):
            pieces[b].append(emitted[b])
            certain[b] += settled[b]
    seen = frames[:, : sum(cuts)], torch.tensor([sum(cuts)] * 2)
    for b, expected in enumerate(greedy_search(predictor, joiner, *seen)):
        assert sum((p.tokens for p in pieces[b]), ()) == expected.tokens
        assert sum((p.timestamps for p in pieces[b]), ()) == expected.timestamps
        assert greedy_state.score[b].item() == pytest.approx(expected.score, abs=1e-4)
    expected = beam_search(predictor, joiner, *seen, 4)
    found = zip(beam.pending(beam_state), beam.score(beam_state))
    for (pending, score), settled, offline in zip(found, certain, expected):
        assert (settled + pending.labels).tokens == offline.tokens
        assert score == pytest.approx(offline.score, abs=1e-4)


def test_a_state_is_a_value_that_later_frames_leave_alone():
    predictor, joiner = make_model(7)
    frames, lengths = make_frames(7, 6)
    search = GreedySearch(predictor, joiner)
    state = search.init_state(1, frames.device)
    before = [field.clone() for field in state]
    first = search.advance(state, frames, lengths)
    assert all(torch.equal(a, b) for a, b in zip(state, before))
    assert first.emitted == search.advance(state, frames, lengths).emitted


@pytest.mark.parametrize("name", searches())
def test_no_frames_give_an_empty_hypothesis(name):
    found = searches()[name](*make_model(0), torch.zeros(1, 0, WIDTH), torch.tensor([0]))[0]
    assert found == type(found)((), (), (), 0.0)


def test_a_beam_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="beam must be >= 1, got 0"):
        beam_search(*make_model(0), *make_frames(0, 3), 0)


def test_searches_leave_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        greedy_search(*make_model(0), *make_frames(0, 3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
