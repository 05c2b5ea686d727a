"""The plan of the sub-stages and their parents."""

from pathlib import Path

import pytest
import yaml

from espnet_local.stamp import write_stamp
from espnet_local.training.plan import (
    BEST_CHECKPOINT,
    Plan,
    SubstageSpec,
    find_parent,
    load_plan,
    merge,
    stage_dir,
)

ROOT = Path(__file__).parent.parent


def finish(expdir: Path, substage: str, wer: float, loss: float = 1.0) -> None:
    folder = stage_dir(expdir, substage)
    folder.mkdir(parents=True)
    (folder / BEST_CHECKPOINT).write_bytes(substage.encode())
    write_stamp(folder, f"print-{substage}", valid_wer=wer, valid_loss=loss)


@pytest.fixture
def plan() -> Plan:
    return load_plan(ROOT / "conf/stages.yaml")


def test_shipped_plan_has_the_eleven_sub_stages_of_the_method(plan):
    assert list(plan.substages) == ["1", "2a", "2b", "2c", "2d", "3a", "3b", "3c", "4", "5a", "5b"]
    contexts = {name: spec.contexts for name, spec in plan.substages.items()}
    assert contexts["1"].first.name == "full"
    assert [contexts[n].first.chunk_ms for n in ("2a", "2b", "2c", "2d")] == [320, 640, 1280, 2560]
    assert [contexts[n].first.left_chunks for n in ("3a", "3b", "3c")] == [1, 2, None]
    assert len(contexts["4"].contexts()) > 4
    assert [contexts[n].first.sink_frames for n in ("5a", "5b")] == [4, 16]


@pytest.mark.parametrize(
    ("size", "corpus", "architecture"),
    [
        ("tiny", None, "tiny"),
        ("tiny", "mini", "tiny"),
        ("tiny", "fsdd", "tiny"),
        ("xlsr53", None, "xlsr_300m"),
        ("xlsr53_40gb", None, "xlsr_300m"),
        ("xlsr_300m", None, "xlsr_300m"),
        ("xlsr_1b", None, "xlsr_1b"),
        ("xlsr_2b", None, "xlsr_2b"),
    ],
)
def test_shipped_configs_are_read(size, corpus, architecture):
    from espnet_local.training.setup import load_size

    overrides = ROOT / f"egs/xlsr_transducer/{corpus}/conf"
    config = load_size(ROOT / f"conf/{size}.yaml", overrides if corpus else None)
    assert config.espnet["encoder_conf"]["size"] == architecture


def test_a_size_builds_on_its_base_and_a_corpus_changes_both(tmp_path):
    from espnet_local.training.setup import load_size

    optimiser = "optim_conf: {lr: 1.0, betas: [0.9, 0.98]}\nencoder_conf: {size: tiny}\n"
    files = {
        "conf/small.yaml": f"{optimiser}num_iters_per_epoch: 4\ngrad_clip: 1.0\nlog_interval: 1\n",
        "conf/large.yaml": "base: small\nnum_iters_per_epoch: 8\n",
        "own/small.yaml": "num_iters_per_epoch: 5\ngrad_clip: 2.0\n",
        "own/large.yaml": "log_interval: 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    size = load_size(tmp_path / "conf/large.yaml", tmp_path / "own")
    found = [size.espnet[k] for k in ("num_iters_per_epoch", "grad_clip", "log_interval")]
    assert found == [8, 2.0, 3]
    assert [Path(name).name for name in size.files.split(" with ")] == [
        "large.yaml", "large.yaml", "small.yaml", "small.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize("base", ["large", "3"])
def test_a_size_based_on_itself_or_on_nothing_is_refused(tmp_path, base):
    from espnet_local.training.setup import load_size

    (tmp_path / "large.yaml").write_text(f"base: {base}\n")
    with pytest.raises(ValueError, match="large.yaml: base must name another size, got "):
        load_size(tmp_path / "large.yaml")


def test_named_parent_is_taken(plan, tmp_path):
    finish(tmp_path, "2a", 30.0)
    parent = find_parent(plan, "3b", tmp_path)
    assert parent is not None
    assert parent.name == "2a"
    assert parent.fingerprint == "print-2a"
    assert parent.checkpoint.read_bytes() == b"2a"


def test_best_parent_has_the_lowest_wer_then_the_lowest_loss(plan, tmp_path):
    finish(tmp_path, "3a", 12.0, loss=9.0)
    finish(tmp_path, "3b", 11.0, loss=3.0)
    finish(tmp_path, "3c", 11.0, loss=2.0)
    parent = find_parent(plan, "4", tmp_path)
    assert parent is not None
    assert parent.name == "3c"


def test_stage_one_has_no_parent_among_the_sub_stages(plan, tmp_path):
    assert find_parent(plan, "1", tmp_path) is None


def test_missing_parent_is_named_with_the_call_that_trains_it(plan, tmp_path):
    finish(tmp_path, "3a", 12.0)
    with pytest.raises(ValueError, match=r"4 starts from 3b and 3c, not trained yet .* --stage 3"):
        find_parent(plan, "4", tmp_path)


def test_corpus_overrides_single_values(tmp_path):
    override = tmp_path / "stages.yaml"
    override.write_text(yaml.safe_dump({"substages": {"2a": {"epochs": 77}}}))
    plan = load_plan(ROOT / "conf/stages.yaml", override)
    original = load_plan(ROOT / "conf/stages.yaml")
    assert plan.substages["2a"].epochs == 77
    assert plan.substages["2a"].contexts == original.substages["2a"].contexts
    assert plan.substages["2b"] == original.substages["2b"]


def test_merge_replaces_lists_whole():
    assert merge({"a": {"b": [1, 2], "c": 3}}, {"a": {"b": [4]}}) == {"a": {"b": [4], "c": 3}}


@pytest.mark.parametrize(
    ("substages", "message"),
    [
        ({"1": {"parent": "pretrained", "epoch": 1}}, "unknown key 'epoch', did you mean 'epochs'"),
        ({"1": {"parent": "pretrained"}}, "substages.1: missing key 'epochs'"),
        ({"1": {"parent": "pretrained", "epochs": 0}}, "epochs must be >= 1, got 0"),
        ({"7": {"parent": "pretrained", "epochs": 1}}, "must begin with its stage 1..5, got '7'"),
        ({"2a": {"parent": "1", "epochs": 1}}, "unknown parent '1'"),
        ({"1": {"parent": "best", "epochs": 1}}, "no stage before it"),
        (
            {"1": {"parent": "2a", "epochs": 1}, "2a": {"parent": "1", "epochs": 1}},
            "parent '2a' is not of an earlier stage",
        ),
        (
            {"1": {"parent": "pretrained", "epochs": 1, "encoder_params": {"chunk_frame": 4}}},
            "did you mean 'chunk_frames'",
        ),
    ],
)
def test_bad_plan_is_refused_with_file_and_key(tmp_path, substages, message):
    path = tmp_path / "stages.yaml"
    path.write_text(yaml.safe_dump({"substages": substages}))
    with pytest.raises(ValueError, match=message) as caught:
        load_plan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text("substages:\n  '1': {parent: pretrained, epochs: 1}\n  '1': {epochs: 2}\n")
    with pytest.raises(ValueError, match="key '1' stands twice"):
        load_plan(path)


def test_warm_up_and_scale_have_bounds():
    with pytest.raises(ValueError, match=r"warmup_share must be in \(0, 1\), got 1.5"):
        SubstageSpec(parent="1", epochs=1, warmup_share=1.5)
    with pytest.raises(ValueError, match="lr_scale must be > 0, got 0"):
        SubstageSpec(parent="1", epochs=1, lr_scale=0.0)
