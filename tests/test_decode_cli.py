"""Decoding programs: shards, merging, skipping, and what they say to bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_model import write_stage

from espnet_local.bin import decode
from espnet_local.config import ContextSpec
from espnet_local.decode import output
from espnet_local.decode.greedy import greedy_search
from espnet_local.decode.model import load_model
from espnet_local.decode.plan import DecodeSpec, Shard, load_decode_spec, own_context
from espnet_local.decode.runner import make_batches
from espnet_local.files import fingerprint, read_table, write_table, write_text

ROOT = Path(__file__).resolve().parents[1]
UTTERANCES = {"a-1": 9000, "a-2": 4000, "b-1": 6500, "b-2": 400, "c-1": 5000}  # samples
FULL, OWN, LISTED = ContextSpec(), ContextSpec(chunk_frames=4), ContextSpec(chunk_frames=8)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a finished sub-stage 2a of random weights, a data set and a decode config."""
    root = tmp_path_factory.mktemp("trained")
    _write_data(root / "data" / "test")
    write_stage(root / "exp" / "stage2a")
    write_text(
        root / "decode.yaml",
        "methods: [greedy, beam]\nbeam: 3\nbatch_seconds: 0.8\ncontexts: [{chunk_frames: 8}]\n",
    )
    return root


@pytest.fixture
def workplace(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "w")
    return tmp_path / "w"


def _write_data(folder):
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, count in UTTERANCES.items():
        samples = 0.3 * generator.standard_normal(count).clip(-3, 3)
        soundfile.write(folder / f"{name}.wav", samples, 16000, subtype="PCM_16")
    # Relative to the folder a program runs in, as in a recipe.
    write_table(folder / "wav.scp", {n: f"data/test/{n}.wav" for n in UTTERANCES})
    write_table(folder / "text", dict.fromkeys(UTTERANCES, "one two"))
    write_table(folder / "utt2num_samples", UTTERANCES)
    write_table(folder / "utt2spk", {n: n[0] for n in UTTERANCES})


@pytest.fixture
def call(workplace, monkeypatch):
    """Runs the program in the workplace."""
    monkeypatch.chdir(workplace)

    def run(*arguments):
        common = ["--expdir", "exp", "--data", "data", "--sets", "test", "--config", "decode.yaml"]
        decode.main([*common, *arguments])

    return run


def start(workplace, *arguments):
    """Another Python process in the workplace."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=workplace,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def decoded(workplace, context=FULL, method="greedy"):
    return workplace / "exp" / "stage2a" / f"decode_{context.name}_{method}" / "test"


def tables(workplace):
    """All final files by path, without the stamps."""
    return {
        str(path.relative_to(workplace)): path.read_text()
        for path in workplace.glob("exp/stage2a/decode_*/test/*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_model_is_decoded_under_full_own_and_listed_contexts_with_each_method(workplace, call):
    call()
    expected = {
        str(decoded(Path(), context, method) / name)
        for context in (FULL, OWN, LISTED)
        for method in ("greedy", "beam")
        for name in ("text", "token", "timing")
    } | {
        str(decoded(Path(), OWN, f"{method}_streaming") / name)
        for method in ("greedy", "beam")
        for name in ("text", "token", "timing", "emission")
    }
    assert set(tables(workplace)) == expected
    assert len({text for path, text in tables(workplace).items() if path.endswith("timing")}) > 3


@torch.no_grad()
def test_files_hold_what_the_search_finds_for_each_utterance_alone(workplace, call):
    call()
    loaded = load_model(workplace / "exp" / "stage2a")
    folder = decoded(workplace, OWN)
    tables_ = [read_table(folder / name) for name in ("text", "token", "timing")]
    emitted = 0
    for name in UTTERANCES:
        samples, _ = soundfile.read(f"data/test/{name}.wav", dtype="float32")
        batch = torch.from_numpy(samples)[None], torch.tensor([len(samples)])
        frames, lengths = loaded.model.encoder.forward_context(*batch, OWN)
        found = greedy_search(loaded.model.decoder, loaded.model.joint_network, frames, lengths)[0]
        text, token, timing = (table[name] for table in tables_)
        assert text == loaded.tokenizer.decode(found.tokens)
        assert token.split() == [loaded.tokenizer.tokens[i] for i in found.tokens]
        assert timing.split() == [f"{0.02 * t:.2f}" for t in found.timestamps]
        emitted += len(found.tokens)
    assert emitted > 10


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_streamed_set_is_that_of_masked_decoding(workplace, call, method):
    call("--shard", "1/2")
    call("--shard", "2/2")
    call("--merge", "2")
    masked, streamed = (decoded(workplace, OWN, method + end) for end in ("", "_streaming"))
    for name in ("text", "token", "timing"):
        assert read_table(streamed / name) == read_table(masked / name)
    tokens, emission = (read_table(streamed / name) for name in ("token", "emission"))
    for utterance, count in UTTERANCES.items():
        times = [float(value) for value in emission[utterance].split()]
        assert len(times) == len(tokens[utterance].split())
        assert times == sorted(times)
        chunk_ends = [round(0.08 * (c + 1) + 0.005, 3) for c in range(count // 1280 + 1)]
        assert set(times) <= {*chunk_ends, round(count / 16000, 3)}
    stamp = json.loads((streamed / ".done.json").read_text())
    assert stamp["model"] == fingerprint(files=[workplace / "exp/stage2a/valid.wer.best.pth"])
    cost = stamp["cost"]
    assert cost["audio_seconds"] == pytest.approx(sum(UTTERANCES.values()) / 16000)
    assert len(cost["finalisation_seconds"]) == len(UTTERANCES)


@pytest.mark.parametrize("jobs", [2, 7])
def test_merged_shards_equal_one_job_and_leave_nothing_behind(workplace, call, jobs):
    call()
    together = tables(workplace)
    for folder in workplace.glob("exp/stage2a/decode_*"):
        shutil.rmtree(folder)
    for index in range(1, jobs + 1):
        call("--shard", f"{index}/{jobs}")
    assert tables(workplace) == {}
    call("--merge", str(jobs))
    assert tables(workplace) == together
    assert not list(workplace.glob("exp/stage2a/decode_*/test/shard.*"))


def modification_times(workplace):
    return {p: p.stat().st_mtime_ns for p in workplace.glob("exp/stage2a/decode_*/test/.done.json")}


def test_unchanged_work_is_skipped_without_importing_torch(workplace, call):
    call()
    before = modification_times(workplace)
    program = (
        "import sys; from espnet_local.bin.decode import main;"
        "main(sys.argv[1:]); assert 'torch' not in sys.modules"
    )
    common = ["--expdir", "exp", "--data", "data", "--sets", "test", "--config", "decode.yaml"]
    for part in ([], ["--shard", "1/2"], ["--merge", "2"]):
        result = start(workplace, "-c", program, *common, *part)
        assert result.returncode == 0, result.stderr
        assert "8 of 8 decodings unchanged, skipped" in result.stderr
    assert modification_times(workplace) == before


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("beam", "beam"),
        ("audio list", "all"),
        ("checkpoint", "all"),
        ("batch_seconds", "none"),
    ],
)
def test_what_changed_and_only_that_is_decoded_again(workplace, call, change, redone):
    call()
    before = modification_times(workplace)
    config, scp = workplace / "decode.yaml", workplace / "data" / "test" / "wav.scp"
    checkpoint = workplace / "exp" / "stage2a" / "valid.wer.best.pth"
    if change == "beam":
        config.write_text(config.read_text().replace("beam: 3", "beam: 2"))
    elif change == "batch_seconds":
        config.write_text(config.read_text().replace("0.8", "3.0"))
    elif change == "audio list":
        write_table(scp, dict(list(read_table(scp).items())[:2]))
    else:
        weights = torch.load(checkpoint)
        weights["joint_network.lin_out.bias"] += 0.1
        torch.save(weights, checkpoint)
    call()
    again = {p for p, t in modification_times(workplace).items() if before.get(p) != t}
    wanted = {p for p in before if redone == "all" or redone in str(p)}
    assert again == wanted


def test_each_shard_holds_its_own_utterances(workplace, call):
    for index in (1, 2):
        call("--shard", f"{index}/2")
    shards = decoded(workplace) / "shard.2"
    found = [list(read_table(shards / str(index) / "text")) for index in (1, 2)]
    assert found == [["a-1", "b-1", "c-1"], ["a-2", "b-2"]]


def test_outputs_that_were_cut_short_have_no_stamp(workplace, call, monkeypatch):
    call()
    config = workplace / "decode.yaml"
    config.write_text(config.read_text().replace("beam: 3", "beam: 2"))

    def fail(path, table):
        if path.name == "timing" and "shard" not in str(path):
            raise OSError("disk full")
        write_table(path, table)

    monkeypatch.setattr(output, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        call()
    assert not (decoded(workplace, FULL, "beam") / ".done.json").exists()
    assert (decoded(workplace, FULL, "greedy") / ".done.json").exists()


def test_a_sub_stage_that_training_moved_aside_is_not_decoded(workplace, call):
    stage = workplace / "exp" / "stage2a"
    shutil.copytree(stage, stage.with_name("stage2a.replaced1"))
    call()
    assert not list(workplace.glob("exp/stage2a.replaced1/decode_*"))


def test_a_shard_that_is_missing_or_stale_is_an_error_naming_it(workplace, call):
    call("--shard", "1/2")
    with pytest.raises(ValueError, match=r"shard\.2/2: not decoded.*--shard 2/2"):
        call("--merge", "2")
    assert tables(workplace) == {}


def test_audio_that_cannot_be_decoded_is_an_error_naming_the_utterance(workplace, call):
    (workplace / "data" / "test" / "b-1.wav").unlink()
    with pytest.raises(ValueError, match=r"utterance b-1: .*b-1\.wav"):
        call()
    soundfile.write(workplace / "data" / "test" / "b-1.wav", np.zeros(399), 16000)
    with pytest.raises(ValueError, match="utterance b-1: must have >= 400 samples.*got 399"):
        call()
    assert tables(workplace) == {}


def error_line(workplace, *arguments):
    """The one line that the program prints on an error."""
    result = start(workplace, "-m", "espnet_local.bin.decode", *arguments)
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--substages", "2b"], "sub-stage '2b' is not finished, did you mean '2a'?"),
        (["--shard", "3/2"], "shard must be I/N with 1 <= I <= N, got 3/2"),
        (["--shard", "half"], "shard must be I/N, for example 1/4, got 'half'"),
        (["--merge", "0"], "merge must be >= 1, got 0"),
        (["--device", "cuda:99"], "device 'cuda:99': "),
        (["--sets", "tset"], "data/tset/wav.scp"),
        (["--expdir", "nowhere"], "nowhere: no finished sub-stage"),
    ],
)
def test_a_bad_option_is_one_line_and_a_status(workplace, arguments, message):
    common = ["--expdir", "exp", "--data", "data", "--sets", "test", "--config", "decode.yaml"]
    assert message in error_line(workplace, *common, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [greedy]", "unknown key 'method', did you mean 'methods'?"),
        ("methods: [gredy]", "must be one of 'greedy', 'beam', got 'gredy'"),
        ("methods: []", "methods must name one or more, each once, got []"),
        ("beam: 0", "beam must be >= 1, got 0"),
        ("batch_seconds: 0", "batch_seconds must be > 0, got 0"),
        ("contexts: [{left_chunk: 1}]", "unknown key 'left_chunk', did you mean 'left_chunks'?"),
    ],
)
def test_a_bad_config_is_an_error_naming_file_and_key(tmp_path, text, message):
    path = tmp_path / "decode.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is looked at below
        load_decode_spec(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_the_shipped_config_holds_the_target_context_and_the_defaults():
    spec = load_decode_spec(ROOT / "conf" / "decode.yaml")
    target = ContextSpec(chunk_frames=16, left_chunks=1, sink_frames=16)
    assert spec == DecodeSpec(contexts=(target,))


def test_the_own_context_is_the_first_that_training_drew_from(workplace):
    stage = workplace / "exp" / "stage2a"
    assert own_context(stage) == OWN == load_model(stage).own_contexts[0]
    (stage / ".done.json").write_text(json.dumps({"fingerprint": "x"}))
    with pytest.raises(ValueError, match="contexts: missing"):
        own_context(stage)


def test_batches_hold_every_utterance_once_within_the_bound():
    samples = {"a": 10, "b": 7, "c": 7, "d": 3, "e": 2, "f": 1, "g": 50}
    batches = list(make_batches(samples, 14))
    assert batches == [["g"], ["a"], ["b", "c"], ["d", "e", "f"]]
    assert list(make_batches({}, 14)) == []


def test_shards_are_read_from_text():
    assert Shard.parse("2/4") == Shard(2, 4)
