"""`python -m espnet_local.bin.stream`: files, raw PCM, formats, and what it says to bad input."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_model import write_stage

from espnet_local.decode.sources import open_sources

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and audio files."""
    folder = tmp_path_factory.mktemp("stream")
    write_stage(folder / "stage5b", chunk_frames=[8], left_chunks=[1], sink_frames=[4])
    generator = np.random.default_rng(0)
    for name, rate in (("a.wav", 16_000), ("b.flac", 44_100)):
        level = np.repeat(generator.uniform(0.02, 0.3, 12), rate // 4)
        samples = level * generator.standard_normal(len(level)).clip(-3, 3)
        soundfile.write(folder / name, samples, rate, subtype="PCM_16")
    soundfile.write(folder / "stereo.wav", np.zeros((800, 2)), 16_000)
    return folder


def stream(place, *arguments, stdin=b""):
    command = [sys.executable, "-m", "espnet_local.bin.stream", "--model", "stage5b", *arguments]
    return subprocess.run(
        command, cwd=place, env={"PYTHONPATH": str(ROOT)}, input=stdin, capture_output=True,
        check=False,
    )  # fmt: skip


def output(result):
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


@pytest.fixture(scope="module")
def text(place):
    """What is recognised of a.wav."""
    found = output(stream(place, "a.wav")).strip()
    assert found
    return found


def test_a_file_gives_its_text_and_a_summary_on_stderr(place, text):
    result = stream(place, "a.wav", "--packet_ms", "37")
    assert output(result).strip() == text
    summary = result.stderr.decode()
    assert "3.0 s of audio in 1 stream, algorithmic latency 165 ms, real-time factor 0." in summary
    assert "peak memory" in summary


def test_several_files_are_streamed_at_once_and_named(place, text):
    lines = output(stream(place, "a.wav", "b.flac")).splitlines()
    assert lines[0] == f"a.wav\t{text}"
    assert lines[1].startswith("b.flac\t")


def test_raw_samples_on_stdin_are_the_file(place, text):
    samples, _ = soundfile.read(place / "a.wav", dtype="int16")
    assert output(stream(place, "-", stdin=samples.tobytes())).strip() == text


def test_half_a_sample_at_the_end_of_stdin_is_a_warning(place, text):
    samples, _ = soundfile.read(place / "a.wav", dtype="int16")
    result = stream(place, "-", stdin=samples.tobytes() + b"x")
    assert output(result).strip() == text
    assert b"WARNING stdin: ended within a 16-bit sample" in result.stderr


def test_ctrl_c_ends_raw_samples_as_their_end_would_and_segments_come_at_once(place):
    samples, _ = soundfile.read(place / "a.wav", dtype="int16")
    rules = ["--rule3_min_utterance_length", "0.5"]
    whole = output(stream(place, "-", *rules, stdin=samples.tobytes()))
    command = [sys.executable, "-m", "espnet_local.bin.stream", "--model", "stage5b", "-", *rules]
    process = subprocess.Popen(
        command, cwd=place, env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(samples.tobytes())
    process.stdin.flush()
    first = process.stdout.readline()  # while the input is open
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    # What is in the pipe or still buffered when it comes is not heard; what was, is.
    assert (
        whole.replace(" ", "").replace("\n", "").startswith(first.decode().strip().replace(" ", ""))
    )
    assert b"peak memory" in errors


def test_a_bad_file_among_several_is_named(place):
    soundfile.write(place / "slow.wav", np.zeros(500), 500)
    result = stream(place, "a.wav", "slow.wav")
    assert result.returncode == 1
    assert (
        b"slow.wav, at 0.00 s: sample_rate must be in [1000, 768000] Hz, got 500" in result.stderr
    )


def test_ctm_and_json_hold_the_same_words(place, text):
    lines = output(stream(place, "a.wav", "--format", "ctm")).splitlines()
    assert " ".join(line.split()[4] for line in lines) == text
    for line in lines:
        name, channel, start, duration, _, confidence = line.split()
        assert (name, channel) == ("a.wav", "1")
        assert 0 <= float(start) < float(start) + float(duration) <= 3.0
        assert 0 < float(confidence) <= 1
    (line,) = output(stream(place, "a.wav", "--format", "json")).splitlines()
    value = json.loads(line)
    assert value["text"] == text
    assert value["seconds"] == 3.0
    (segment,) = value["segments"]
    assert len(segment["tokens"]) == len(segment["timestamps"]) == len(segment["token_logprobs"])


def test_endpoints_give_a_line_a_segment(place, text):
    rules = ("--rule1_min_trailing_silence", "1", "--rule3_min_utterance_length", "0.5")
    lines = output(stream(place, "a.wav", *rules)).splitlines()
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    (line,) = output(stream(place, "a.wav", "--format", "json", *rules)).splitlines()
    assert json.loads(line)["text"] == text
    assert len(json.loads(line)["segments"]) >= len(lines)
    ctm = output(stream(place, "a.wav", "--format", "ctm", *rules))
    assert ctm == output(stream(place, "a.wav", "--format", "ctm"))
    assert " ".join(line.split()[4] for line in ctm.splitlines()) == text


def test_pacing_takes_as_long_as_the_audio_and_changes_nothing(place, text):
    import time

    begin = time.monotonic()
    assert output(stream(place, "a.wav", "--realtime")).strip() == text
    assert time.monotonic() - begin >= 3.0


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["nope.wav"], b"", "no such file: nope.wav"),
        (["stereo.wav"], b"", "stereo.wav: 2 channels, expected 1"),
        (["stage5b/config.yaml"], b"", "stage5b/config.yaml: not readable as audio"),
        (["-", "--sample_rate", "0"], b"", "sample_rate must be >= 1 Hz, got 0"),
        (["-", "a.wav"], b"", "'-' must be the only input, got 2"),
        (["a.wav", "a.wav"], b"", "a.wav: given twice"),
        (["a.wav", "--chunk_ms", "30"], b"", "chunk_ms must be a multiple of 20 ms, got 30"),
        (["a.wav", "--packet_ms", "0"], b"", "packet_ms must be >= 1 ms, got 0"),
        (["a.wav", "--num_threads", "0"], b"", "num_threads must be >= 1, got 0"),
        (["a.wav", "--dtype", "int8"], b"", "dtype must be one of float32, bfloat16, float16"),
        (["a.wav", "--model", "nowhere"], b"", "nowhere/config.yaml"),
        (
            ["a.wav", "--rule1_min_trailing_silence", "0"],
            b"",
            "rule1_min_trailing_silence must be > 0 s, got 0",
        ),
    ],
)
def test_bad_input_is_one_line_and_a_status(place, arguments, stdin, message):
    result = stream(place, *arguments, stdin=stdin)
    assert result.returncode == 1
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("espnet_local.bin.stream: error: ")
    assert message in line
    assert result.stdout == b""


def test_a_context_that_was_not_trained_is_a_warning_line(place):
    result = stream(place, "a.wav", "--chunk_ms", "640")
    assert output(result)
    warning = result.stderr.decode().splitlines()[0]
    assert "WARNING stage5b: trained under 160ms_left1_sink4, streams under 640ms" in warning


def test_help_needs_no_torch():
    program = (
        "import sys; from espnet_local.bin import stream\n"
        "try: stream.main(['--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "--left_chunks" in result.stdout


def test_the_microphone_is_read_through_sounddevice(monkeypatch):
    blocks = [np.full((160, 1), value, np.float32) for value in (0.1, 0.2)]

    class FakeStream:
        def __init__(self, rate, blocksize, channels, dtype, callback):
            assert (rate, blocksize, channels, dtype) == (16_000, 160, 1, "float32")
            self.callback = callback

        def __enter__(self):
            for block in blocks:
                self.callback(block, len(block), None, None)

        def __exit__(self, *_):
            pass

    fake = type(sys)("sounddevice")
    fake.InputStream, fake.PortAudioError = FakeStream, type("PortAudioError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    (source,) = open_sources(["mic"], 10, sys.stdin.buffer, 16_000)
    assert [next(source.packets)[0] for _ in blocks] == pytest.approx([0.1, 0.2])


def test_a_missing_sounddevice_is_an_error_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ValueError, match="mic: needs sounddevice .* pip install sounddevice"):
        open_sources(["mic"], 10, sys.stdin.buffer, 16_000)
