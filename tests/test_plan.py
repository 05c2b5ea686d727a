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
    ("size", "corpus"), [("tiny", None), ("xlsr_300m", None), ("tiny", "mini"), ("tiny", "fsdd")]
)
def test_shipped_configs_are_read(size, corpus):
    from espnet_local.training.setup import load_size

    overrides = ROOT / f"egs/xlsr_transducer/{corpus}/conf/{size}.yaml"
    config, _ = load_size(
        ROOT / f"conf/{size}.yaml", overrides if corpus and overrides.exists() else None
    )
    assert config["encoder_conf"]["size"] == size


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
