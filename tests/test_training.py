"""Training sub-stages through ESPnet, on a toy corpus of tones: each word is a pitch."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from toy_corpus import greedy_tokens, make_toy, talkative, train

from espnet_local.config import ContextSpec
from espnet_local.decode.model import load_model
from espnet_local.stamp import read_stamp
from espnet_local.training.plan import BEST_CHECKPOINT

"""The order of the tests in this file is that of the stages; the corpus is made once."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """A folder with data, tokens, configs and nothing trained yet."""
    root = tmp_path_factory.mktemp("toy")
    make_toy(root)
    return root


def weights(folder: Path, checkpoint: str = BEST_CHECKPOINT) -> dict[str, torch.Tensor]:
    return torch.load(folder / checkpoint, weights_only=True)


def test_stage_without_its_parent_is_refused(toy, monkeypatch):
    with pytest.raises(ValueError, match="2b starts from 1, not trained yet"):
        train(toy, monkeypatch, "--stage", "2", "--substage", "2b")
    assert not (toy / "exp/stage2b").exists()


def test_misspelt_keys_are_refused_before_anything_is_written(toy, monkeypatch):
    original = (toy / "tiny.yaml").read_text()
    cases = [
        ("lr: 0.002", "lr: 2e-3", "optim_conf.lr must be a number > 0 such as 2.0e-3, got '2e-3'"),
        ("  dropout:", "  dropuot:", "unknown key 'dropuot', did you mean 'dropout'"),
        ("warm_start:", "warm_strat:", "unknown key 'warm_strat', did you mean 'warm_start'"),
        ("grad_clip:", "grad_clipp:", "unknown key 'grad_clipp', did you mean 'grad_clip'"),
        (
            "weight_decay:",
            "weight_dekay:",
            "unknown key 'weight_dekay', did you mean 'weight_decay'",
        ),
        ("ctc_weight:", "ctc_wait:", "unknown key 'ctc_wait', did you mean 'ctc_weight'"),
        ("batch_bins: 88000", "batch_bins: many", "batch_bins must be of type int, got 'many'"),
        ("batch_bins: 88000", "batch_bins:", "batch_bins must be of type int, got None"),
        ("grad_clip: 5.0", "grad_clp:", "unknown key 'grad_clp', did you mean 'grad_clip'"),
        ("optim: adamw", "optim: adamx", "got 'adamx', did you mean 'adam"),
        ("optim: adamw", "", "optim must be one of .*, got 'none'"),
        ("dim: 144", 'dim: "abc"', "dim must be of type int, got 'abc'"),
        ("  lr: 0.002", "  lrr: 0.002", r"optim_conf\.lr must be .*, got none; .* has .*lrr"),
        ("weight_decay: 0.01", "weight_decay: abc", "optim_conf: adamw does not take it: "),
    ]
    for right, wrong, message in cases:
        assert right in original
        (toy / "tiny.yaml").write_text(original.replace(right, wrong))
        with pytest.raises(ValueError, match=message) as caught:
            train(toy, monkeypatch, "--stage", "1")
        assert str(caught.value).startswith(f"{toy}/tiny.yaml: ")
        assert "\n" not in str(caught.value)
        assert not (toy / "exp").exists()
    (toy / "tiny.yaml").write_text(original)


def test_stage_trains_to_a_stamp_and_says_its_wer(toy, monkeypatch, capsys):
    train(toy, monkeypatch, "--stage", "1")
    stamp = read_stamp(toy / "exp/stage1")
    assert stamp is not None
    assert stamp["parent"] == "pretrained"
    assert np.isfinite(stamp["valid_loss"])
    said = capsys.readouterr().err
    assert "result: sub-stage 1: validation loss" in said
    assert "WER" in said
    assert (toy / "exp/stage1/bpe.model").exists()
    assert (toy / "exp/stage1/train.log").exists()


def test_checkpoint_that_is_none_of_ours_is_refused_before_anything_is_written(
    toy, monkeypatch, tmp_path
):
    (tmp_path / "x.pth").write_text("nothing of the kind")
    other = str(toy / "exp_other")
    with pytest.raises(ValueError, match="x.pth: not a readable checkpoint"):
        train(
            toy, monkeypatch, "--stage", "1", "--expdir", other, "--pretrained", f"{tmp_path}/x.pth"
        )
    assert not Path(other).exists()


def test_pending_names_what_is_not_trained_and_trains_nothing(toy, monkeypatch, capsys):
    train(toy, monkeypatch, "--stage", "1", "--pending")
    assert capsys.readouterr().out == ""
    train(toy, monkeypatch, "--stage", "1", "--pending", "--seed", "9")
    assert capsys.readouterr().out == "1\n"
    train(toy, monkeypatch, "--stage", "2", "--pending")
    assert capsys.readouterr().out == "2a\n2b\n"
    assert not (toy / "exp/stage2a").exists()


def test_config_that_training_began_with_is_not_held_against_espnet_again(toy, monkeypatch, caplog):
    from espnet_local.training import espnet_check
    from espnet_local.training.setup import TrainingOptions, load_configs, make_setup

    configs = load_configs(toy, "tiny", "toy", toy / "stages.yaml")
    options = TrainingOptions(data=toy / "data", tokens=toy / "tokens", expdir=toy / "exp")
    checked = []
    monkeypatch.setattr(espnet_check, "check_config", lambda config, _: checked.append(config))
    for change in ({}, {"grad_clip": 1.0}):
        size = configs.size._replace(espnet={**configs.size.espnet, **change})
        setup = make_setup(configs.plan, "1", size, None, options)
        espnet_check.check_with_espnet([setup], "tiny.yaml")
    assert [config["grad_clip"] for config in checked] == [1.0]


def test_unchanged_stage_is_skipped(toy, monkeypatch, caplog):
    before = (toy / "exp/stage1/checkpoint.pth").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        train(toy, monkeypatch, "--stage", "1")
    assert (toy / "exp/stage1/checkpoint.pth").stat().st_mtime_ns == before


def test_child_begins_exactly_where_its_parents_best_checkpoint_ended(toy, monkeypatch):
    train(toy, monkeypatch, "--stage", "2")
    parent, child = weights(toy / "exp/stage1"), weights(toy / "exp/stage2a")
    assert parent.keys() == child.keys()
    for name in parent:
        if name != "encoder.train_batches":
            assert torch.equal(parent[name], child[name]), name
    # The draws of a sub-stage begin with its own first batch.
    assert child["encoder.train_batches"] == 3
    stamps = [read_stamp(toy / "exp" / name) or {} for name in ("stage1", "stage2a")]
    assert stamps[1]["parent_fingerprint"] == stamps[0]["fingerprint"]
    trained = weights(toy / "exp/stage2b")
    assert any(not torch.equal(parent[name], trained[name]) for name in parent)


def test_killed_stage_goes_on_and_ends_as_an_undisturbed_one(toy, monkeypatch):
    from espnet_local.task import ReportingTrainer

    class KilledError(Exception):
        pass

    validated = []
    real_validate = ReportingTrainer.validate_one_epoch.__func__

    def stop_in_second(cls, reporter, **others):
        validated.append(reporter.get_epoch())
        if reporter.get_epoch() == 2:
            raise KilledError
        real_validate(cls, reporter=reporter, **others)

    other = str(toy / "exp_killed")
    with monkeypatch.context() as patch:
        patch.setattr(ReportingTrainer, "validate_one_epoch", classmethod(stop_in_second))
        with pytest.raises(KilledError):
            train(toy, patch, "--stage", "1", "--expdir", other)
    assert validated == [1, 2]
    assert read_stamp(toy / "exp_killed/stage1") is None
    train(toy, monkeypatch, "--stage", "1", "--expdir", other)
    log = (toy / "exp_killed/stage1/train.log").read_text()
    assert "The training was resumed" in log
    assert "warm start" not in log.split("The training was resumed")[1]
    resumed, undisturbed = (
        torch.load(toy / name / "stage1/checkpoint.pth", weights_only=False)["model"]
        for name in ("exp_killed", "exp")
    )
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_kill_between_two_of_espnets_writes_loses_nothing(toy, monkeypatch):
    """After `checkpoint.pth`, before the epoch's weights and the link to the best epoch."""
    folder = toy / "exp_killed/stage1"
    before = weights(folder)
    best = (folder / BEST_CHECKPOINT).resolve()
    (folder / BEST_CHECKPOINT).unlink()
    (folder / ".done.json").unlink()
    (folder / "2epoch.pth").unlink(missing_ok=True)
    if best.exists() and best.name == "1epoch.pth":
        (folder / BEST_CHECKPOINT).symlink_to("2epoch.pth")  # of an epoch that is gone
    train(toy, monkeypatch, "--stage", "1", "--expdir", str(toy / "exp_killed"))
    after = weights(folder)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_stamp(folder) is not None


def test_stamp_without_its_checkpoint_is_not_believed(toy, monkeypatch):
    folder = toy / "exp_killed/stage1"
    (folder / BEST_CHECKPOINT).unlink()
    train(toy, monkeypatch, "--stage", "1", "--expdir", str(toy / "exp_killed"))
    assert (folder / BEST_CHECKPOINT).exists()


def test_changed_inputs_move_the_old_folder_aside(toy, monkeypatch):
    train(toy, monkeypatch, "--stage", "2", "--substage", "2b", "--seed", "7")
    stamp = read_stamp(toy / "exp/stage2b")
    assert stamp is not None
    assert stamp["seed"] == 7
    kept = read_stamp(toy / "exp/stage2b.replaced1")
    assert kept is not None
    assert kept["seed"] == 0


def test_multi_chunk_stage_trains_and_counts_its_draws(toy, monkeypatch):
    train(toy, monkeypatch, "--stage", "4")
    assert weights(toy / "exp/stage4")["encoder.train_batches"] == 3


def test_espnets_own_inference_gives_our_tokens(toy, monkeypatch):
    """Greedy, token by token, on a model made talkative so that there is something to compare."""
    from espnet2.bin.asr_inference import Speech2Text

    folder = toy / "exp/stage2b"
    torch.save(talkative(weights(folder)), folder / "talkative.pth")
    theirs = Speech2Text(
        asr_train_config=str(folder / "config.yaml"),
        asr_model_file=str(folder / "talkative.pth"),
        beam_size=1,
        ctc_weight=0.0,
    )
    ours = load_model(folder, "talkative.pth")
    assert ours.own_contexts == [ContextSpec(chunk_frames=32)]
    seen = set()
    for their_tokens, our_tokens in greedy_tokens(theirs, ours):
        assert our_tokens == their_tokens
        assert len(their_tokens) > 0
        seen.add(tuple(their_tokens))
    assert len(seen) > 1


def test_config_names_its_token_model_from_any_working_directory(toy, monkeypatch):
    monkeypatch.chdir(toy)
    train(Path("."), monkeypatch, "--stage", "1", "--expdir", "exp_relative")
    config = yaml.safe_load((toy / "exp_relative/stage1/config.yaml").read_text())
    assert config["bpemodel"] == str(toy / "exp_relative/stage1/bpe.model")


def test_moved_model_folder_is_complete(toy, tmp_path):
    shutil.copytree(toy / "exp/stage2b", tmp_path / "elsewhere", symlinks=True)
    (toy / "exp/stage2b").rename(toy / "exp/hidden")
    try:
        assert load_model(tmp_path / "elsewhere").tokenizer.tokens[0] == "<blank>"
    finally:
        (toy / "exp/hidden").rename(toy / "exp/stage2b")


def test_model_folder_of_another_kind_is_refused(toy, tmp_path):
    (tmp_path / "config.yaml").write_text("encoder: conformer\n")
    with pytest.raises(ValueError, match="encoder must be 'xlsr_streaming', got 'conformer'"):
        load_model(tmp_path)


def test_checkpoint_that_does_not_fit_is_refused_with_the_names(toy):
    folder = toy / "exp/stage2a"
    broken = weights(folder)
    broken["encoder.encoder.transformer.layer_norm.gamma"] = broken.pop(
        "encoder.encoder.transformer.layer_norm.weight"
    )
    torch.save(broken, folder / "broken.pth")
    with pytest.raises(
        ValueError, match=r"missing .*layer_norm.weight.*surplus .*layer_norm.gamma"
    ):
        load_model(folder, "broken.pth")
    (folder / "cut.pth").write_bytes((folder / "broken.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut.pth: not a readable checkpoint"):
        load_model(folder, "cut.pth")
