"""The recognizer: streams find what the offline search finds, and bad input harms no other."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import soxr
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from toy_model import noise, recognise, run, write_stage

from espnet_local.config import ContextSpec
from espnet_local.decode.endpoint import EndpointRules
from espnet_local.decode.methods import make_search
from espnet_local.decode.model import load_model
from espnet_local.decode.recognizer import Recognizer
from espnet_local.decode.search import decode

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("greedy", "beam")
# An example takes a good part of a second: making a failing one smaller would take minutes.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads of so small a model wait for each other, on a busy machine for most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognizer") / "stage5b"
    write_stage(folder, chunk_frames=[8], left_chunks=[1], sink_frames=[4])
    return folder


@pytest.fixture(scope="module")
def loaded(model_dir):
    return load_model(model_dir)


@pytest.fixture(scope="module", params=METHODS)
def recognizer(model_dir, request):
    return Recognizer.from_pretrained(model_dir, method=request.param)


@torch.no_grad()
def offline(loaded, recognizer, method, samples):
    whole = torch.from_numpy(samples)[None], torch.tensor([len(samples)])
    frames, lengths = loaded.model.encoder.forward_context(*whole, recognizer.context)
    return decode(make_search(loaded, method, 4), frames, lengths)[0]


@pytest.mark.parametrize("method", METHODS)
@given(
    chunk=st.integers(1, 64),
    left=st.one_of(st.just("all"), st.integers(0, 4)),
    sinks=st.integers(0, 16),
    batch=st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=25, phases=NO_SHRINKING)
def test_streams_find_the_tokens_of_the_offline_search(
    loaded, method, chunk, left, sinks, batch, seed
):
    chooser = random.Random(seed)
    lengths = [chooser.randint(0, chooser.choice([500, 60_000])) for _ in range(batch)]
    context = ContextSpec(
        chunk_frames=chunk, left_chunks=None if left == "all" else left, sink_frames=sinks
    )
    recognizer = Recognizer(loaded, context, method)
    utterances = [noise(length, seed + i) for i, length in enumerate(lengths)]
    streams = [recognizer.create_stream() for _ in utterances]
    at = [0] * len(streams)
    while not all(stream.decoded for stream in streams):
        for i, stream in enumerate(streams):
            if stream.input_is_finished or chooser.random() < 0.3:
                continue
            packet = utterances[i][at[i] : at[i] + chooser.randint(0, 20_000)]
            stream.accept_waveform(16_000, packet)
            at[i] += len(packet)
            if at[i] == lengths[i]:
                stream.input_finished()
        recognizer.decode_streams([s for s in streams if recognizer.is_ready(s)])
    for stream, samples in zip(streams, utterances):
        found, expected = (
            recognizer.get_result(stream),
            offline(loaded, recognizer, method, samples),
        )
        assert found.tokens == tuple(loaded.tokenizer.tokens[i] for i in expected.tokens)
        assert found.timestamps == tuple(round(0.02 * t, 2) for t in expected.timestamps)
        assert found.token_logprobs == pytest.approx(expected.token_logprobs, abs=1e-3)
        assert found.text == loaded.tokenizer.decode(expected.tokens)
        assert found.is_final
        assert found.stable_tokens == len(found.tokens)


def test_the_toy_model_emits_enough_for_these_tests_to_mean_something(loaded, recognizer):
    counts = [len(recognise(recognizer, noise(60_000, seed)).tokens) for seed in range(4)]
    assert min(counts) > 3
    assert max(counts) < 150


def test_partial_results_grow_and_what_is_stable_stays(recognizer):
    samples = noise(100_000, 3)
    stream = recognizer.create_stream()
    stable: tuple[str, ...] = ()
    lengths = []
    for at in range(0, len(samples), 1_600):
        stream.accept_waveform(16_000, samples[at : at + 1_600])
        result = run(recognizer, stream)
        assert not result.is_final
        assert result.tokens[: len(stable)] == stable
        assert result.text.startswith(result.stable_text)
        stable = result.tokens[: result.stable_tokens]
        lengths.append(len(result.tokens))
    stream.input_finished()
    final = run(recognizer, stream)
    assert final.tokens[: len(stable)] == stable
    assert len(set(lengths)) > 3


@pytest.mark.parametrize("method", METHODS)
@given(
    seed=st.integers(0, 300),
    rules=st.builds(
        EndpointRules,
        rule1_min_trailing_silence=st.floats(0.3, 3.0),
        rule2_min_trailing_silence=st.floats(0.1, 1.0),
        rule3_min_utterance_length=st.floats(0.5, 4.0),
    ),
)
# Two hypotheses with the same labels at different times take turns at being the best.
@example(
    seed=57,
    rules=EndpointRules(
        rule1_min_trailing_silence=1.0,
        rule2_min_trailing_silence=1.0,
        rule3_min_utterance_length=0.5,
    ),
)
@settings(deadline=None, max_examples=12, phases=NO_SHRINKING)
def test_the_text_is_the_same_whether_or_not_segments_are_closed(loaded, method, seed, rules):
    context = loaded.own_contexts[0]
    samples = noise(80_000, seed)
    samples[30_000:55_000] = 0.0
    whole = recognise(Recognizer(loaded, context, method), samples)
    recognizer = Recognizer(loaded, context, method, endpoint=rules)
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, samples)
    stream.input_finished()
    segments = []
    while recognizer.is_ready(stream):
        recognizer.decode_streams([stream])
        if recognizer.is_endpoint(stream):
            segments.append(recognizer.get_result(stream))
            assert segments[-1].is_final
            recognizer.reset(stream)
            assert not recognizer.is_endpoint(stream)
    segments.append(recognizer.get_result(stream))
    assert sum((s.tokens for s in segments), ()) == whole.tokens
    assert sum((s.timestamps for s in segments), ()) == whole.timestamps
    assert [s.segment for s in segments] == list(range(len(segments)))
    starts = [s.start for s in segments]
    assert starts == sorted(set(starts))
    for segment, end in zip(segments, [*starts[1:], 99.0]):
        assert all(segment.start <= t < end for t in segment.timestamps)
    assert len(segments) > 1


def test_a_reset_without_an_endpoint_loses_and_repeats_nothing(recognizer):
    samples = noise(100_000, 5)
    whole = recognise(recognizer, samples)
    stream = recognizer.create_stream()
    tokens: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    for at in range(0, len(samples), 2_560):  # a chunk: labels settle more rarely
        stream.accept_waveform(16_000, samples[at : at + 2_560])
        result = run(recognizer, stream)
        tokens += result.tokens[: result.stable_tokens]
        times += result.timestamps[: result.stable_tokens]
        assert all(result.start <= t for t in result.timestamps)
        recognizer.reset(stream)
    stream.input_finished()
    rest = run(recognizer, stream)
    assert tokens + rest.tokens == whole.tokens
    assert times + rest.timestamps == whole.timestamps


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_other_sample_rates_are_resampled_as_soxr_does_it_offline(recognizer, rate):
    samples = noise(3 * rate, 7)
    whole = recognise(recognizer, soxr.resample(samples, rate, 16_000))
    stream = recognizer.create_stream()
    for at in range(0, len(samples), 333):
        stream.accept_waveform(rate, samples[at : at + 333])
    stream.input_finished()
    found = run(recognizer, stream)
    assert found.tokens == whole.tokens
    assert found.timestamps == whole.timestamps


def test_streaming_imports_neither_espnet_nor_training_code(model_dir):
    program = (
        "import sys; from espnet_local.decode.recognizer import Recognizer;"
        "Recognizer.from_pretrained(sys.argv[1]).create_stream();"
        "found = [m for m in sys.modules"
        " if m.startswith(('espnet2', 'espnet.', 'espnet_local.training', 'lhotse'))];"
        "sys.exit(', '.join(found) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(model_dir)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


def test_half_precision_stays_close(model_dir):
    recognizer = Recognizer.from_pretrained(model_dir, dtype="bfloat16")
    state = recognizer.create_stream().encoder_state
    assert state.left_keys.dtype == torch.bfloat16
    assert state.statistics.sums.dtype == torch.float64
    assert recognise(recognizer, noise(40_000)).is_final
