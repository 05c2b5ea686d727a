"""What a recognizer says to bad input, and that other streams do not notice it."""

import logging
import random

import numpy as np
import pytest
import torch
from toy_model import noise, recognise, run, write_stage

from espnet_local.decode.recognizer import Recognizer


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognizer") / "stage5b"
    write_stage(folder, chunk_frames=[8], left_chunks=[1], sink_frames=[4])
    return folder


@pytest.fixture(scope="module", params=["greedy", "beam"])
def recognizer(model_dir, request):
    return Recognizer.from_pretrained(model_dir, method=request.param)


BAD = {
    "not finite": (np.array([0.0, np.nan], np.float32), "samples must be finite, got nan at 1"),
    "infinite": (np.array([-np.inf], np.float32), "samples must be finite, got -inf at 0"),
    "integers": (np.zeros(10, np.int16), "must be float in .*, got int16; divide .* by 32768"),
    "integers as floats": (np.full(10, 900.0, np.float32), "must be in .*, got 900; divide"),
    "two channels": (np.zeros((2, 10), np.float32), r"one channel, .* got shape \(2, 10\)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_samples_are_an_error_and_leave_all_streams_as_they_were(recognizer, kind):
    samples, message = BAD[kind]
    good = noise(40_000)
    streams = [recognizer.create_stream() for _ in range(2)]
    for stream in streams:
        stream.accept_waveform(16_000, good[:20_000])
    with pytest.raises(ValueError, match=message):
        streams[0].accept_waveform(16_000, samples)
    expected = recognise(recognizer, good)
    for stream in streams:
        stream.accept_waveform(16_000, good[20_000:])
        stream.input_finished()
    while ready := [s for s in streams if recognizer.is_ready(s)]:
        recognizer.decode_streams(ready)
    for stream in streams:
        assert recognizer.get_result(stream).tokens == expected.tokens


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (0, r"sample_rate must be in \[1000, 768000\] Hz, got 0"),
        (-16_000, "got -16000"),
        (16_000.5, "must be a whole number of Hz, got 16000.5"),
    ],
)
def test_a_sample_rate_that_is_none_is_an_error(recognizer, rate, message):
    with pytest.raises(ValueError, match=message):
        recognizer.create_stream().accept_waveform(rate, noise(10))


def test_a_sample_rate_may_not_change(recognizer):
    stream = recognizer.create_stream()
    stream.accept_waveform(8_000, noise(10))
    with pytest.raises(ValueError, match="sample_rate must stay 8000 Hz, got 16000"):
        stream.accept_waveform(16_000, noise(10))


def test_samples_after_the_end_are_an_error(recognizer):
    stream = recognizer.create_stream()
    stream.input_finished()
    with pytest.raises(ValueError, match=r"samples after input_finished\(\)"):
        stream.accept_waveform(16_000, noise(10))
    assert run(recognizer, stream).text == ""


def test_streams_that_are_not_ready_or_come_twice_are_errors(recognizer):
    ready, idle = recognizer.create_stream(), recognizer.create_stream()
    ready.accept_waveform(16_000, noise(16_000))
    with pytest.raises(ValueError, match="stream 1 of 2 is not ready"):
        recognizer.decode_streams([ready, idle])
    with pytest.raises(ValueError, match="must not come twice"):
        recognizer.decode_streams([ready, ready])
    recognizer.decode_streams([])


def test_a_stream_of_another_recognizer_is_an_error(recognizer, model_dir):
    stream = Recognizer.from_pretrained(model_dir, chunk_ms=320).create_stream()
    stream.accept_waveform(16_000, noise(16_000))
    with pytest.raises(ValueError, match="stream 0 of 1 is of another recognizer"):
        recognizer.decode_streams([stream])


def test_another_context_than_trained_is_a_warning_that_names_both(model_dir, caplog):
    with caplog.at_level(logging.WARNING):
        Recognizer.from_pretrained(model_dir)
        assert not caplog.records
        Recognizer.from_pretrained(model_dir, chunk_ms=640, left_chunks="all", sink_frames=0)
    assert "trained under 160ms_left1_sink4, streams under 640ms_leftall" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_ms": 330}, "chunk_ms must be a multiple of 20 ms, got 330"),
        ({"chunk_ms": 0}, "chunk_ms must be a multiple of 20 ms, got 0"),
        ({"left_chunks": -1}, "left_chunks must be >= 0 or null, got -1"),
        ({"left_chunks": "al"}, "left_chunks must be a whole number or 'all', got 'al'"),
        ({"left_chunks": 1.5}, "left_chunks must be a whole number or 'all', got 1.5"),
        ({"left_chunks": True}, "left_chunks must be a whole number or 'all', got True"),
        ({"chunk_ms": "320"}, "chunk_ms must be a whole number, got '320'"),
        ({"sink_frames": 2.0}, "sink_frames must be a whole number, got 2.0"),
        ({"sink_frames": -1}, "sink_frames must be >= 0, got -1"),
        ({"method": "beem"}, "method must be 'greedy' or 'beam', got 'beem'"),
        ({"method": "beam", "beam": 0}, "beam must be >= 1, got 0"),
        ({"dtype": "float23"}, "dtype must be one of .* got 'float23', did you mean 'float32'"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"checkpoint": "last.pth"}, "last.pth"),
    ],
)
def test_bad_options_are_errors_that_name_them(model_dir, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Recognizer.from_pretrained(model_dir, **options)


def test_a_model_of_full_context_needs_a_chunk(tmp_path):
    write_stage(tmp_path / "stage1", chunk_frames=[None])
    with pytest.raises(ValueError, match="trained in full context: a stream needs a chunk_ms"):
        Recognizer.from_pretrained(tmp_path / "stage1")
    assert Recognizer.from_pretrained(tmp_path / "stage1", chunk_ms=320).context.chunk_frames == 16


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:50_000]), "not a readable checkpoint"),
        (lambda path: path.write_text("foreign"), "not a readable checkpoint"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "surplus weights .'a'"),
        (lambda path: torch.save([1, 2], path), "must hold weights by name, got list"),
        (lambda path: torch.save({"a": 1}, path), "must hold weights by name"),
        (lambda path: torch.save({1: torch.zeros(1)}, path), "must hold weights by name"),
        (
            lambda path: path.write_bytes(random.Random(3).randbytes(200)),
            "not a readable checkpoint",
        ),
        (lambda path: path.write_bytes(b"\x80\x02(K\x00h\x05."), "not a readable checkpoint"),
    ],
)
def test_a_truncated_or_foreign_checkpoint_is_an_error_naming_it(tmp_path, damage, message):
    write_stage(tmp_path / "stage5b")
    damage(tmp_path / "stage5b" / "valid.wer.best.pth")
    with pytest.raises(ValueError, match=f"valid.wer.best.pth.*{message}"):
        Recognizer.from_pretrained(tmp_path / "stage5b")
