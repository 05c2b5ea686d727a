"""Fine-tuning a published encoder: what stage 1 starts from, and the shipped options for it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from toy_corpus import ROOT, make_toy, train
from toy_wav2vec2 import tiny_wav2vec2

from espnet_local.config import BEST_CHECKPOINT
from espnet_local.encoder.pretrained.sources import read_pretrained
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.training.initial import pretrained_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """A corpus, and `hf`, a published encoder of the tiny size."""
    root = tmp_path_factory.mktemp("toy")
    make_toy(root)
    tiny_wav2vec2().save_pretrained(root / "hf")
    return root


@pytest.fixture
def own(tmp_path) -> tuple[str, ...]:
    """Options for a run of stage 1 that learns nothing, in a folder of its own."""
    plan = {"substages": {"1": {"parent": "pretrained", "epochs": 1, "lr_scale": 1e-30}}}
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump(plan))
    return ("--stage", "1", "--expdir", f"{tmp_path}/exp", "--plan", f"{tmp_path}/stages.yaml")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / BEST_CHECKPOINT, weights_only=True)


def write_size(toy: Path, name: str, size: dict) -> None:
    (toy / f"{name}.yaml").write_text(yaml.safe_dump(size))


def assert_encoder(found: dict[str, torch.Tensor], source: Path) -> None:
    expected = read_pretrained(str(source)).weights
    assert len(expected) > 80
    for name, value in expected.items():
        torch.testing.assert_close(found[f"encoder.{name}"], value, atol=1e-6, rtol=0)


def test_stage_1_begins_with_a_published_encoder_weight_for_weight(toy, own, monkeypatch, tmp_path):
    train(toy, monkeypatch, *own, "--pretrained", f"{toy}/hf")
    assert_encoder(weights(tmp_path / "exp/stage1"), toy / "hf")


def test_a_size_names_what_it_starts_from_and_the_call_names_another(
    toy, own, monkeypatch, tmp_path
):
    write_size(toy, "named", {"base": "tiny", "encoder_conf": {"pretrained": f"{toy}/hf"}})
    train(toy, monkeypatch, *own, "--size", "named")
    assert_encoder(weights(tmp_path / "exp/stage1"), toy / "hf")
    config = yaml.safe_load((tmp_path / "exp/stage1/config.yaml").read_text())
    assert "pretrained" not in config["encoder_conf"]  # the experiment needs no file but its own
    with torch.no_grad():
        other = tiny_wav2vec2()
        other.encoder.layer_norm.weight.fill_(3.0)
    other.save_pretrained(tmp_path / "other")
    train(toy, monkeypatch, *own, "--size", "named", "--pretrained", f"{tmp_path}/other")
    assert_encoder(weights(tmp_path / "exp/stage1"), tmp_path / "other")


def test_a_published_encoder_of_another_size_is_refused_before_anything_is_written(
    toy, own, monkeypatch, tmp_path
):
    tiny_wav2vec2(num_hidden_layers=3).save_pretrained(tmp_path / "hf")
    with pytest.raises(ValueError, match=r"hf does not fit size tiny: missing weights .*layers\.3"):
        train(toy, monkeypatch, *own, "--pretrained", f"{tmp_path}/hf")
    assert not (tmp_path / "exp").exists()


def test_an_encoder_that_is_not_downloaded_says_how_before_anything_is_written(
    toy, own, monkeypatch, tmp_path
):
    monkeypatch.setenv("XLSR_PRETRAINED", f"{tmp_path}/cache")
    with pytest.raises(FileNotFoundError, match="run local/download_pretrained.sh WAV2VEC2_XLSR53"):
        train(toy, monkeypatch, *own, "--pretrained", "WAV2VEC2_XLSR53")
    assert not (tmp_path / "exp").exists()


TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
CONFIG = {
    "encoder": "xlsr_streaming",
    "token_list": TOKENS,
    "decoder_conf": {"dim": 8},
    "model_conf": {"joiner": {"dim": 12}},
}


@pytest.fixture
def of_ours(tmp_path):
    """Writes a checkpoint as ESPnet does, after a change to its weights, and starts from it."""
    from espnet2.asr.ctc import CTC

    from espnet_local.task import (
        EspnetStatelessPredictor,
        XlsrStreamingEncoder,
        XlsrTransducerModel,
    )

    path = tmp_path / "old/model.pth"
    path.parent.mkdir()
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n")

    def start(change=lambda weights: None, new=None, ctc_weight=0.3) -> str:
        config = {**CONFIG, "model_conf": {**CONFIG["model_conf"], "ctc_weight": ctc_weight}}
        (path.parent / "config.yaml").write_text(yaml.safe_dump(config))
        model = XlsrTransducerModel(
            len(TOKENS),
            TOKENS,
            XlsrStreamingEncoder(size="tiny"),
            EspnetStatelessPredictor(len(TOKENS), 144, **config["decoder_conf"]),
            CTC(len(TOKENS), 144),
            **config["model_conf"],
        )
        values = model.state_dict()
        change(values)
        torch.save(values, path)
        spec = EncoderSpec(size="tiny")
        return pretrained_weights(str(path), tmp_path, spec, False, {**config, **(new or {})})

    return start


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
def test_a_checkpoint_of_this_project_has_the_places_of_espnets_model(of_ours, ctc_weight):
    assert of_ours(ctc_weight=ctc_weight).init_param.endswith("model.pth:::encoder.train_batches")


ONES = torch.ones(3)
LAYER = "encoder.encoder.transformer.layers.2.final_layer_norm.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(LAYER), f"missing weights {LAYER}"),
        (lambda w: w.pop("ctc.ctc_lo.bias"), "missing weights ctc.ctc_lo.bias"),
        (lambda w: w.update({"encoder.more": torch.zeros(1)}), "surplus weights encoder.more"),
        (
            lambda w: w.update({LAYER: torch.zeros(3)}),
            r"bias must be of shape \(144,\), got \(3,\)",
        ),
        (lambda w: w[LAYER].fill_(torch.inf), f"not finite {LAYER}"),
        (lambda w: w.update({"odd": 3}), "must hold weights by name, odd is none"),
        (lambda w: w.update({3: torch.zeros(1)}), "must hold weights by name, 3 is none"),
    ],
)
def test_a_checkpoint_of_this_project_must_fill_the_new_model(of_ours, change, message):
    with pytest.raises(ValueError, match=rf"old/model.pth\b.*{message}"):
        of_ours(change)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({"model_conf": {"joiner": {"dim": 16}}}, r"joint_network.* of shape \(16.* got \(12"),
        ({"decoder_conf": {"dim": 16}}, r"decoder.* of shape .*16.* got .*8"),
        ({"model_conf": {"joiner": {"dim": 12}, "ctc_weight": 0.0}}, "surplus weights ctc.ctc_lo"),
    ],
)
def test_a_new_model_of_another_width_is_refused_with_the_same_tokens(of_ours, new, message):
    with pytest.raises(ValueError, match=f"model.pth does not fit the new model: .*{message}"):
        of_ours(new=new)


def test_with_other_tokens_the_encoder_alone_must_fit(of_ours, tmp_path):
    (tmp_path / "tokens.txt").write_text("\n".join([*TOKENS[:-1], "c", TOKENS[-1]]) + "\n")
    found = of_ours(lambda w: w.pop("ctc.ctc_lo.bias"), {"decoder_conf": {"dim": 16}})
    assert found.init_param.endswith("model.pth:encoder:encoder:encoder.train_batches")
    short = LAYER.removeprefix("encoder.")
    with pytest.raises(ValueError, match=f"does not fit the new model: missing weights {short}"):
        of_ours(lambda w: w.pop(LAYER))


def test_a_checkpoint_with_more_than_tensors_was_not_written_here(of_ours):
    with pytest.raises(ValueError, match=r"more than tensors .*: this project did not write it$"):
        of_ours(lambda w: w.update({"encoder.more": Path("x")}))


def test_a_checkpoint_that_does_not_fit_leaves_nothing_behind(toy, own, monkeypatch, tmp_path):
    (tmp_path / "old").mkdir()
    config = {**CONFIG, "token_list": (toy / "tokens/tokens.txt").read_text().split("\n")[:-1]}
    (tmp_path / "old/config.yaml").write_text(yaml.safe_dump(config))
    torch.save({LAYER: torch.zeros(144)}, tmp_path / "old/model.pth")
    with pytest.raises(ValueError, match="model.pth does not fit the new model: missing weights"):
        train(toy, monkeypatch, *own, "--pretrained", f"{tmp_path}/old/model.pth")
    assert not (tmp_path / "exp").exists()


@pytest.fixture
def xlsr53_but_tiny(toy) -> None:
    """The shipped config with all its options, of a shape that trains in seconds."""
    shutil.copy(ROOT / "conf/xlsr53.yaml", toy / "xlsr53.yaml")
    smaller = {
        "base": "xlsr53",
        "encoder_conf": {"size": "tiny", "pretrained": f"{toy}/hf", "thaw_after_batches": 1},
        "num_iters_per_epoch": 4,
        "num_workers": 0,
        "use_tensorboard": False,
    }
    write_size(toy, "small", smaller)


def changed(before: dict, after: dict, part: str) -> list[str]:
    same = (k for k in before if (before[k] - after[k]).abs().max() < 1e-12)
    return sorted({k for k in before if k.startswith(part)} - set(same))


def test_the_shipped_options_train_and_keep_the_front_end(
    toy, xlsr53_but_tiny, monkeypatch, tmp_path
):
    expdir = f"{tmp_path}/exp"
    train(toy, monkeypatch, "--stage", "1", "--size", "small", "--expdir", expdir)
    begin = {f"encoder.{k}": v for k, v in read_pretrained(f"{toy}/hf").weights.items()}
    end = weights(tmp_path / "exp/stage1")
    assert changed(begin, end, "encoder.feature_extractor") == []
    assert len(changed(begin, end, "encoder.encoder.transformer.layers")) > 40


def test_the_encoder_learns_at_a_rate_of_its_own(toy, xlsr53_but_tiny, monkeypatch, tmp_path):
    slow = {"base": "small", "encoder_conf": {"lr_scale": 1e-30, "thaw_after_batches": 0}}
    write_size(toy, "slow", slow)
    expdir = f"{tmp_path}/exp"
    train(toy, monkeypatch, "--stage", "1", "--size", "slow", "--expdir", expdir)
    states = torch.load(tmp_path / "exp/stage1/checkpoint.pth", weights_only=False)
    rest, encoder = states["optimizers"][0]["param_groups"]
    assert rest["max_lr"] == pytest.approx(5e-4)
    assert encoder["max_lr"] == pytest.approx(5e-34)
    begin = {f"encoder.{k}": v for k, v in read_pretrained(f"{toy}/hf").weights.items()}
    end = weights(tmp_path / "exp/stage1")
    assert changed(begin, end, "encoder.encoder") == []
    assert end["joint_network.lin_out.bias"].abs().max() > 0


def test_speed_perturbation_of_the_shipped_config_changes_lengths_in_training_alone():
    from espnet_local.task import XlsrTransducerTask

    options = yaml.safe_load((ROOT / "conf/xlsr53.yaml").read_text())["preprocessor_conf"]
    parser = XlsrTransducerTask.get_parser()
    defaults = parser.parse_args(["--token_type", "char", "--output_dir", "none"])
    defaults.preprocessor_conf, defaults.token_list = options, ["<blank>", "<unk>", "a"]
    samples = np.zeros(9_900, dtype=np.float32)

    def lengths(training: bool) -> set[int]:
        preprocess = XlsrTransducerTask.build_preprocess_fn(defaults, training)
        return {len(preprocess("u", {"speech": samples})["speech"]) for _ in range(60)}

    assert lengths(False) == {9_900}
    assert lengths(True) == {9_000, 9_900, 11_000}


def test_an_espnet_config_of_a_users_own_may_name_the_weights_too(toy):
    from espnet_local.task import XlsrStreamingEncoder

    encoder = XlsrStreamingEncoder(size="tiny", pretrained=f"{toy}/hf")
    assert_encoder({f"encoder.{k}": v for k, v in encoder.state_dict().items()}, toy / "hf")


def test_training_that_espnet_gave_up_is_not_finished(toy, monkeypatch, tmp_path):
    """Weights that are not finite: no step is valid, and ESPnet stops without a word."""
    from espnet_local.stamp import read_stamp
    from espnet_local.training import run as training

    real = training.InitialWeights.init_params

    def poisoned(self, folder):
        self.encoder["encoder.transformer.layer_norm.weight"].fill_(float("nan"))
        return real(self, folder)

    monkeypatch.setattr(training.InitialWeights, "init_params", poisoned)
    call = ("--stage", "1", "--pretrained", f"{toy}/hf", "--expdir", f"{tmp_path}/exp")
    with pytest.raises(ValueError, match=r"stopped after epoch 1 of 2, without a finite gradient"):
        train(toy, monkeypatch, *call)
    assert read_stamp(tmp_path / "exp/stage1") is None


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, None)])
def test_float16_is_taken_where_the_gpu_only_emulates_bfloat16(monkeypatch, native, dtype):
    from espnet2.train import trainer

    from espnet_local.task import use_float16_where_bfloat16_is_emulated

    monkeypatch.setattr(trainer, "autocast_args", {"dtype": torch.bfloat16})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )
    use_float16_where_bfloat16_is_emulated()
    assert trainer.autocast_args.get("dtype") == dtype
