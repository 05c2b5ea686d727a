"""What is wrong with a call of run.sh is said before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_local.stamp import write_stamp
from espnet_local.training.plan import stage_dir
from local import preflight


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the checks on folders that do not exist; ESPnet's part is in test_training.py."""
    monkeypatch.setattr(preflight, "check_with_espnet", lambda setups, files: None)
    monkeypatch.setenv("XLSR_CALL", "./run.sh --tag x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    def run(stage: int = 1, stop_stage: int = 7, *more: str) -> None:
        folders = [
            part
            for name in ("data", "tokens", "expdir")
            for part in (f"--{name}", str(tmp_path / name))
        ]
        stages = ["--stage", str(stage), "--stop_stage", str(stop_stage)]
        preflight.main([*stages, *folders, "--sets", "test", *more])
        assert list(tmp_path.iterdir()) == []

    return run


def finish(tmp_path: Path, *substages: str) -> None:
    for name in substages:
        write_stamp(stage_dir(tmp_path / "expdir", name), "x", valid_wer=1.0, valid_loss=1.0)


@pytest.mark.parametrize(("stage", "stop_stage"), [(-1, 7), (-1, -1), (1, 5), (1, 1), (-1, 0)])
def test_a_call_that_makes_what_it_needs_is_right(check, stage, stop_stage) -> None:
    check(stage, stop_stage)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((1, 7, "--sets", "foo"), "--sets must be among train, dev, test, got 'foo'"),
        ((-1, 7, "--sets", "tset"), "got 'tset', did you mean 'test'?"),
        ((2, 2, "--substage", "2x"), "unknown sub-stage '2x', did you mean '2"),
        ((1, 7, "--substage", "1,2a,2e"), "unknown sub-stage '2e', did you mean '2"),
        ((2, 7), r"2a starts from 1, .* \(./run.sh --tag x --stage 1 --stop_stage 1\)"),
        ((3, 3), r"3a starts from 2a, .* \(./run.sh --tag x --stage 2 --stop_stage 2\)"),
        ((1, 7, "--substage", "1,2b,3a"), "3a starts from 2a, not trained yet"),
        ((6, 6), r"expdir: no finished sub-stage .* \(./run.sh --tag x --stop_stage 5\)"),
        ((7, 7), r"'test' is not decoded; run stage 6 first \(./run.sh --tag x --stage 6\)"),
        ((1, 7, "--ngpu", "2"), "--ngpu 2: this machine has 1 GPUs"),
        ((1, 7, "--size", "huge"), "conf has no huge.yaml: size must be one of tiny, "),
        ((1, 7, "--size", "xlsr_35"), "did you mean 'xlsr53"),
    ],
)
def test_a_mistake_is_found_before_anything_is_made(check, call, message) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        check(*call)


def test_a_bad_config_is_named_with_its_file(check, tmp_path_factory, tmp_path) -> None:
    folder = tmp_path_factory.mktemp("conf")
    cases = [
        ("tiny.yaml", "optim_conf: {lrr: 1.0}\nencoder_conf: {}\nnum_iters_per_epoch: 1\n", "lrr"),
        ("stages.yaml", "substages: {'1': {parent: '2a', epochs: 1}}\n", "unknown parent '2a'"),
        ("decode.yaml", "beams: 3\n", "unknown key 'beams', did you mean 'beam'"),
    ]
    for name, text, message in cases:
        (folder / name).write_text(text)
        option = {"tiny.yaml": "--conf", "stages.yaml": "--plan", "decode.yaml": "--decode_config"}
        value = folder if name == "tiny.yaml" else folder / name
        with pytest.raises(ValueError, match=message) as caught:
            check(1, 7, option[name], str(value))
        assert str(caught.value).startswith(str(folder / name))


def test_configs_are_held_against_espnet_before_the_first_sub_stage(check, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        preflight, "check_with_espnet", lambda setups, files: seen.extend([*setups, files])
    )
    check(1, 7, "--substage", "1,2b", "--corpus", "fsdd")
    *setups, files = seen
    assert [setup.substage for setup in setups] == ["1", "2b"]
    assert files == "conf/tiny.yaml with egs/xlsr_transducer/fsdd/conf/tiny.yaml"


def test_what_is_there_already_or_comes_in_the_call_counts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(preflight, "check_with_espnet", lambda setups, files: None)
    finish(tmp_path, "1")
    (tmp_path / "data/other").mkdir(parents=True)
    (tmp_path / "data/other/wav.scp").touch()
    folders = ["--data", f"{tmp_path}/data", "--tokens", "t", "--expdir", f"{tmp_path}/expdir"]
    preflight.main(["--stage", "2", "--stop_stage", "6", *folders, "--sets", "other"])
    preflight.main(["--stage", "6", "--stop_stage", "6", *folders, "--sets", "test"])


def test_the_gpus_of_another_backend_are_not_known(check) -> None:
    check(1, 1, "--ngpu", "8", "--backend", "slurm")


def test_a_mistake_in_a_sites_configuration_is_found(check, tmp_path_factory) -> None:
    config = tmp_path_factory.mktemp("conf") / "slurm.conf"
    config.write_text("comand sbatch\n")
    with pytest.raises(ValueError, match="slurm.conf:1: unknown statement 'comand'"):
        check(1, 1, "--backend", "slurm", "--backend_config", str(config))


def test_an_encoder_that_has_to_be_downloaded_is_named(check, monkeypatch, tmp_path, capsys):
    cache = tmp_path.with_name("cache")
    monkeypatch.setenv("XLSR_PRETRAINED", str(cache))
    call = (1, 5, "--size", "xlsr53")
    check(*call)
    assert capsys.readouterr().out == "WAV2VEC2_XLSR53\n"
    check(*call, "--pretrained", "facebook/wav2vec2-large-xlsr-53")
    assert capsys.readouterr().out == "facebook/wav2vec2-large-xlsr-53\n"
    check(-1, 0, "--size", "xlsr53")
    assert capsys.readouterr().out == ""
    (cache / "WAV2VEC2_XLSR53").mkdir(parents=True)
    (cache / "WAV2VEC2_XLSR53/wav2vec2_fairseq_large_xlsr53.pth").touch()
    check(*call)
    assert capsys.readouterr().out == ""


def test_a_dry_run_needs_no_parent_no_download_and_no_decoded_set(check, monkeypatch, capsys):
    check(2, 7, "--substage", "2b", "--dry_run", "--size", "xlsr53")
    assert capsys.readouterr().out == ""
