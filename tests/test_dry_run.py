"""What the dry run says, and that it leaves nothing behind."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from toy_corpus import make_toy

from espnet_local.bin import dry_run as command
from espnet_local.files import read_table
from espnet_local.training import dry_run
from espnet_local.training.batches import Batch, largest
from espnet_local.training.setup import TrainingOptions, load_configs, make_setup

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    make_toy(root)
    return root


@pytest.fixture
def setup(toy):
    configs = load_configs(toy, "tiny", "toy", toy / "stages.yaml")
    options = TrainingOptions(data=toy / "data", tokens=toy / "tokens", expdir=toy / "exp")
    return make_setup(configs.plan, "1", configs.size, None, options)


def test_every_stage_gets_a_line_with_its_time_and_memory_and_nothing_stays(
    toy, monkeypatch, capsys
):
    before = sorted(toy.rglob("*"))
    paths = {"data": "data", "tokens": "tokens", "expdir": "exp", "plan": "stages.yaml"}
    call = [part for name, path in paths.items() for part in (f"--{name}", f"{toy}/{path}")]
    call += ["--conf", str(toy), "--corpus", "toy", "--stage", "1", "--stop_stage", "2"]
    monkeypatch.setattr("sys.argv", ["dry_run", *call])
    command.main()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("result: ")]
    assert re.search(r"on the CPU .*longest batch has \d+ utterances, .* up to \d+ tokens", said[0])
    assert re.search(r"stage 1: 0:\d\d:\d\d for 1: 6 batches of .* of warm start; peak", said[1])
    assert re.search(r"stage 2: 0:\d\d:\d\d for 2a, 2b: 6 batches of .*peak memory .* GB", said[2])
    assert said[3].startswith("result: in all 0:")
    assert sorted(toy.rglob("*")) == before


@pytest.fixture
def seen(monkeypatch):
    """What every call of the training loop gets, and the state it finds."""
    calls = []
    real = dry_run._Loop.train

    def train(self, batches):
        optimiser, encoder = self._optimizers[0], self._model.encoder
        calls.append(
            {
                "lengths": [data["speech_lengths"] for _, data in batches],
                "shapes": [data["speech"].shape for _, data in batches],
                "has_states": bool(optimiser.state),
                "batches": int(encoder.train_batches),
                "layer_drop": encoder.encoder.transformer.layer_drop,
            }
        )
        return real(self, batches)

    monkeypatch.setattr(dry_run._Loop, "train", train)
    return calls


def changed(setup, **changes):
    return dataclasses.replace(setup, espnet={**setup.espnet, **changes})


def test_the_largest_batches_run_with_the_optimisers_states_and_every_layer(toy, setup, seen):
    conf = {**setup.espnet["encoder_conf"], "thaw_after_batches": 9, "layer_drop": 0.5}
    found = dry_run.measure(changed(setup, encoder_conf=conf, accum_grad=2), from_nothing=False)
    first, *largest, warm_up, timed = seen
    assert not first["has_states"]
    assert largest
    assert all(call["has_states"] and len(call["shapes"]) == 2 for call in largest)
    assert {call["layer_drop"] for call in (first, *largest)} == {0.0}
    assert {call["layer_drop"] for call in (warm_up, timed)} == {0.5}
    assert all(call["batches"] >= 9 for call in seen)
    samples = {u: int(n) for u, n in read_table(toy / "data/train/utt2num_samples").items()}
    longest = len(found.longest.keys) * max(samples[key] for key in found.longest.keys)
    assert largest[0]["shapes"][0].numel() == longest
    assert found.longest.seconds == longest / 16_000


def test_few_long_utterances_are_run_too_since_masks_grow_with_the_square(setup, monkeypatch):
    batches = [
        Batch(tuple("abcd"), 40.0, 9, 1),
        Batch(("e",), 39.0, 8, 1),
        Batch(tuple("fg"), 10.0, 7, 1),
    ]
    assert largest(batches) == [batches[0], batches[1]]


def test_the_slowest_speed_of_the_config_makes_the_longest_batch(setup, seen):
    plain = [[1.0, "speed_perturb", {"factor": factor}] for factor in (0.8, 1.1)]
    nested = [[1.0, [[0.5, "speed_perturb", {"factor": factor}] for factor in (0.5, 1.1)]]]
    found = []
    for effects in (None, plain, nested):
        conf = {"fs": 16_000, "data_aug_prob": 0.5, "data_aug_effects": effects}
        seen.clear()
        dry_run.measure(
            changed(setup, preprocessor_conf=conf if effects else {}), from_nothing=False
        )
        found.append(seen[1]["lengths"][0])
    assert torch.equal(torch.ceil(found[0] / 0.8).long(), found[1])
    assert torch.equal(torch.ceil(found[0] / 0.5).long(), found[2])


def test_time_is_epochs_of_steps_and_validations(setup):
    found = dry_run.Measured(
        longest=Batch(("u",), 1.0, 1, 1),
        batch_seconds=1.0,
        step_s=0.5,
        load_s=0.25,
        valid_s=2.0,
        warm_start_s=9.0,
        peak_bytes=1,
        total_bytes=None,
    )
    for workers, step_s in ((0, 0.75), (1, 0.5)):
        each = changed(setup, num_workers=workers, num_iters_per_epoch=4, max_epoch=3)
        assert dry_run.projected_s(found, each) == 3 * (4 * step_s + 2.0)


def test_a_batch_too_large_for_the_gpu_is_one_line_with_advice(setup, monkeypatch):
    def too_large(self, batches):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(dry_run._Loop, "train", too_large)
    with pytest.raises(ValueError, match=r"a batch of \d+ s .* lower batch_bins \(now 88000\)"):
        dry_run.measure(setup, from_nothing=False)
