"""What a sub-stage's fingerprint depends on, and configs that are refused."""

import copy
import dataclasses
from pathlib import Path

import pytest
import yaml

from espnet_local.stamp import write_stamp
from espnet_local.training.plan import Parent, load_plan
from espnet_local.training.setup import TrainingOptions, load_size, make_setup

ROOT = Path(__file__).parent.parent
SIZE = load_size(ROOT / "conf/tiny.yaml")
CONFIG = SIZE.espnet


@pytest.fixture
def options(tmp_path: Path) -> TrainingOptions:
    for name in ("train", "dev"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for table in ("wav.scp", "text", "utt2num_samples"):
            (tmp_path / "data" / name / table).write_text(f"u1 {name} {table}\n")
    (tmp_path / "tokens").mkdir()
    for name in ("bpe.model", "tokens.txt", "train_text_shape", "dev_text_shape"):
        (tmp_path / "tokens" / name).write_text(name)
    return TrainingOptions(
        data=tmp_path / "data", tokens=tmp_path / "tokens", expdir=tmp_path / "exp", seed=1
    )


def setup_of(options, substage="1", parent=None, **changes):
    size = SIZE._replace(espnet={**copy.deepcopy(CONFIG), **changes})
    return make_setup(load_plan(ROOT / "conf/stages.yaml"), substage, size, parent, options)


def test_fingerprint_stays_when_nothing_or_nothing_of_effect_changes(options):
    before = setup_of(options).fingerprint()
    assert setup_of(options).fingerprint() == before
    assert setup_of(options, num_workers=7, log_interval=3).fingerprint() == before


@pytest.mark.parametrize("changes", [{"grad_clip": 1.0}, {"batch_bins": 1}, {"optim": "adam"}])
def test_fingerprint_changes_with_the_config(options, changes):
    assert setup_of(options, **changes).fingerprint() != setup_of(options).fingerprint()


@pytest.mark.parametrize(
    "name",
    ["data/train/text", "data/dev/utt2num_samples", "data/train/wav.scp", "tokens/bpe.model"],
)
def test_fingerprint_changes_with_every_input_file(options, name):
    before = setup_of(options).fingerprint()
    (options.data.parent / name).write_text("changed")
    assert setup_of(options).fingerprint() != before


def test_stamp_of_the_corpus_stands_for_its_audio(options):
    write_stamp(options.data, "first")
    before = setup_of(options).fingerprint()
    (options.data / "train/wav.scp").write_text("u1 /moved/elsewhere\n")
    assert setup_of(options).fingerprint() == before
    write_stamp(options.data, "second")
    assert setup_of(options).fingerprint() != before


def test_fingerprint_changes_with_the_parent_and_its_weights(options, tmp_path):
    (tmp_path / "valid.wer.best.pth").write_bytes(b"weights")
    parents = [Parent(name="1", folder=tmp_path, fingerprint=print_) for print_ in ("a", "b")]
    found = [setup_of(options, "2a", parent).fingerprint() for parent in parents]
    (tmp_path / "valid.wer.best.pth").write_bytes(b"other weights")
    found.append(setup_of(options, "2a", parents[0]).fingerprint())
    assert len(set(found)) == 3


def test_missing_input_is_named(options):
    (options.tokens / "tokens.txt").unlink()
    with pytest.raises(FileNotFoundError, match="tokens.txt"):
        setup_of(options).fingerprint()


def test_substage_gets_its_share_of_the_learning_rate_and_its_context(options):
    setup = setup_of(options, "5b")
    scale = load_plan(ROOT / "conf/stages.yaml").substages["5b"].lr_scale
    assert setup.espnet["optim_conf"]["lr"] == CONFIG["optim_conf"]["lr"] * scale
    assert setup.espnet["scheduler_conf"]["max_lr"] == setup.espnet["optim_conf"]["lr"]
    assert setup.espnet["encoder_conf"]["contexts"]["sink_frames"] == [16]


def test_front_end_is_not_frozen_at_random_weights(options):
    size = load_size(ROOT / "conf/xlsr53.yaml")
    del size.espnet["encoder_conf"]["pretrained"]
    plan = load_plan(ROOT / "conf/stages.yaml")
    with pytest.raises(ValueError, match="freeze_frontend keeps random weights"):
        make_setup(plan, "1", size, None, options)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_iters_per_epoch", 0, "num_iters_per_epoch must be an integer >= 1, got 0"),
        ("accum_grad", "2", "accum_grad must be an integer >= 1, got '2'"),
        ("accum_grad", 401, "accum_grad must be <= num_iters_per_epoch=400, or there is no upd"),
        ("optim_conf", {"lr": float("nan")}, "optim_conf.lr must be a number > 0 .*got nan"),
        (
            "encoder_conf",
            {"size": "tiny", "lr_scale": float("inf")},
            "lr_scale must be > 0 and fin",
        ),
        ("optim_conf", {"rl": 1.0}, "optim_conf.lr must be a number > 0"),
        ("optim_conf", {"lr": "2e-3"}, "such as 2.0e-3, got '2e-3'"),
        ("encoder_conf", {"size": "huge"}, "encoder_conf.size must be one of 'tiny'"),
    ],
)
def test_bad_value_in_a_size_config_is_one_line_with_the_file(tmp_path, key, value, message):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, key: value}))
    with pytest.raises(ValueError, match=message) as caught:
        load_size(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_negative_number_of_gpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ngpu must be >= 0, got -1"):
        TrainingOptions(data=tmp_path, tokens=tmp_path, expdir=tmp_path, ngpu=-1)


@pytest.mark.parametrize("name", ["expdir", "pretrained"])
def test_a_path_that_espnets_init_param_would_take_apart_is_refused(tmp_path, name):
    paths = {"data": tmp_path, "tokens": tmp_path, "expdir": tmp_path, name: "x:y/m.pth"}
    with pytest.raises(ValueError, match=f"{name} must not hold a colon, got x:y"):
        TrainingOptions(**paths)


def test_the_transformer_is_held_in_stage_1_alone(options):
    conf = {**CONFIG["encoder_conf"], "thaw_after_batches": 7}
    found = [
        setup_of(options, name, encoder_conf=conf).espnet["encoder_conf"]["thaw_after_batches"]
        for name in ("1", "2a", "4")
    ]
    assert found == [7, 0, 0]


def test_a_debug_run_updates_at_least_once(options):
    options = dataclasses.replace(options, debug=True)
    config = setup_of(options, accum_grad=100).espnet
    assert config["accum_grad"] == config["num_iters_per_epoch"]


def test_a_corpus_cannot_change_what_a_size_builds_on(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "conf/tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "own/tiny.yaml").write_text("base: xlsr53\n")
    with pytest.raises(ValueError, match=r"own/tiny.yaml: base stands in conf/tiny.yaml alone"):
        load_size(tmp_path / "conf/tiny.yaml", tmp_path / "own")
