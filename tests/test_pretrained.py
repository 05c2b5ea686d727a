"""Published encoders: every name mapped, activations those of the original programs."""

import argparse
import json
import re
import shutil
import struct
import sys
import types

import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from torchaudio.models import wav2vec2_model
from torchaudio.models.wav2vec2.utils import import_fairseq
from toy_wav2vec2 import hf_config, tiny_wav2vec2, wav2vec2

from espnet_local.config import ContextSpec
from espnet_local.encoder import streaming
from espnet_local.encoder.pretrained.cache import check_name, is_downloadable, weight_files
from espnet_local.encoder.pretrained.fit import encoder_weights
from espnet_local.encoder.pretrained.names import check_fit, to_ours
from espnet_local.encoder.pretrained.sources import read_pretrained
from espnet_local.encoder.spec import ARCHITECTURES, EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.encoder.waveform import NormalisedWaveform, initial_statistics


@pytest.fixture(scope="module")
def original():
    """transformers' own model with random weights."""
    return tiny_wav2vec2()


@pytest.fixture
def hf_folder(original, tmp_path):
    original.save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def our_encoder(weights, size="tiny"):
    encoder = StreamingEncoder(EncoderSpec(size=size)).eval()
    check_fit({k: v for k, v in weights.items() if "mask" not in k}, places(encoder))
    missing, surplus = encoder.load_state_dict(weights, strict=False)
    assert not surplus
    assert set(missing) <= {"train_batches", "feature_mask.embedding"}
    return encoder


def places(encoder):
    skipped = ("train_batches", "feature_mask.embedding")
    return {k: v for k, v in encoder.state_dict().items() if k not in skipped}


@torch.no_grad()
def frames_of(encoder, samples, monkeypatch):
    """Full context, of a waveform that is taken as it is."""
    monkeypatch.setattr(
        streaming,
        "normalise_waveform",
        lambda x: NormalisedWaveform(x, initial_statistics(len(x), "cpu")),
    )
    lengths = torch.full((len(samples),), samples.shape[1])
    return encoder.forward_context(samples, lengths, ContextSpec())[0]


def assert_same_activations(original, encoder, monkeypatch):
    samples = torch.randn(2, 9_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = original(samples).last_hidden_state
    found = frames_of(encoder, samples, monkeypatch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("file", ["safetensors", "bin", "bin of a model with a head"])
def test_a_hugging_face_folder_gives_transformers_activations(
    original, hf_folder, file, monkeypatch
):
    if file != "safetensors":
        prefix = "wav2vec2." if "head" in file else ""
        weights = {prefix + k: v for k, v in original.state_dict().items()}
        if prefix:
            weights |= {"quantizer.codevectors": torch.zeros(2), "project_q.bias": torch.zeros(2)}
        (hf_folder / "model.safetensors").unlink()
        torch.save(weights, hf_folder / "pytorch_model.bin")
    found = read_pretrained(str(hf_folder))
    assert found.form == "huggingface"
    assert_same_activations(original, our_encoder(found.weights), monkeypatch)


@pytest.mark.slow
def test_the_300_m_architecture_gives_transformers_activations(tmp_path, monkeypatch):
    large = wav2vec2("xlsr_300m")
    large.save_pretrained(tmp_path / "hf")
    encoder = our_encoder(read_pretrained(str(tmp_path / "hf")).weights, "xlsr_300m")
    samples = torch.randn(1, 9_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = large(samples).last_hidden_state
    found = frames_of(encoder, samples, monkeypatch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


NEW_NORM = ("parametrizations.weight.original0", "parametrizations.weight.original1")
OLD_NORM = ("weight_g", "weight_v")


def renamed(weights, before, after):
    for old, new in zip(before, after):
        weights = {k.replace(old, new): v for k, v in weights.items()}
    return weights


def old_weight_norm(weights):
    """The names of the positional convolution before torch 2.0."""
    return renamed(weights, NEW_NORM, OLD_NORM)


@pytest.mark.parametrize("rename", [dict, old_weight_norm])
def test_torchaudios_names_are_ours_in_both_forms_of_weight_norm(rename):
    encoder = StreamingEncoder(EncoderSpec(size="tiny"))
    expected = places(encoder)
    found = to_ours({**rename(expected), "aux.weight": torch.zeros(1)}, "torchaudio")
    assert found.keys() == expected.keys()
    assert all(found[k] is expected[k] for k in expected)


def fairseq_names(ours):
    """Our names as fairseq has them: the reverse of the rules, written down once more."""
    layer, theirs = r"encoder\.transformer\.layers\.(\d+)\.", r"encoder.layers.\1."
    conv, their_conv = r"(feature_extractor\.conv_layers\.\d+\.)", r"\g<1>"
    swaps = [
        (conv + r"conv\.", their_conv + "0."),
        (conv + r"layer_norm\.", their_conv + "2.1."),
        (r"encoder\.feature_projection\.projection\.", "post_extract_proj."),
        (r"encoder\.feature_projection\.layer_norm\.", "layer_norm."),
        (r"encoder\.transformer\.pos_conv_embed\.conv\.", "encoder.pos_conv.0."),
        (layer + r"layer_norm\.", theirs + "self_attn_layer_norm."),
        (layer + r"attention\.", theirs + "self_attn."),
        (layer + r"feed_forward\.intermediate_dense\.", theirs + "fc1."),
        (layer + r"feed_forward\.output_dense\.", theirs + "fc2."),
        (r"encoder\.transformer\.", "encoder."),
    ]
    found = {}
    for name, value in old_weight_norm(ours).items():
        pattern, fairseq = next(swap for swap in swaps if re.match(swap[0], name))
        found[re.sub(f"^{pattern}", fairseq, name)] = value
    return found


@pytest.fixture
def fairseq(tmp_path):
    """A checkpoint as fairseq writes it, and the weights in it under our names."""
    torch.manual_seed(0)
    expected = places(StreamingEncoder(EncoderSpec(size="tiny")))
    weights = {
        **fairseq_names(expected),
        "mask_emb": torch.ones(144),
        "quantizer.vars": torch.zeros(3),
        "final_proj.weight": torch.zeros(3),
    }
    path = tmp_path / "xlsr_53_56k.pt"
    checkpoint = {"args": argparse.Namespace(arch="wav2vec2"), "cfg": None, "model": weights}
    torch.save(checkpoint, path)
    return path, weights, expected


def test_a_fairseq_checkpoint_is_read_without_executing_anything(fairseq):
    path, _, expected = fairseq
    found = read_pretrained(str(path))
    assert found.form == "fairseq"
    assert torch.equal(found.weights.pop("feature_mask.embedding"), torch.ones(144))
    assert found.weights.keys() == expected.keys()
    assert all(torch.equal(found.weights[k], expected[k]) for k in expected)


def test_fairseqs_names_are_mapped_as_torchaudios_importer_does_it(fairseq):
    _, weights, _ = fairseq
    theirs = import_fairseq._convert_state_dict(weights)
    ours = to_ours(weights, "fairseq")
    ours.pop("feature_mask.embedding")
    theirs = renamed(theirs, OLD_NORM, NEW_NORM)
    assert theirs.keys() == ours.keys()
    assert all(theirs[k] is ours[k] for k in ours)


class Touch:
    """Executes something when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_would_execute_something_asks_for_trust(fairseq, tmp_path):
    path, weights, expected = fairseq
    torch.save({"cfg": Touch(tmp_path / "touched"), "model": weights}, path)
    with pytest.raises(
        ValueError, match=r"xlsr_53_56k.pt: holds more .* say so with --trust_pickle"
    ):
        read_pretrained(str(path))
    assert not (tmp_path / "touched").exists()
    assert read_pretrained(str(path), trust_pickle=True).weights.keys() > expected.keys()
    assert (tmp_path / "touched").exists()


ONE = torch.zeros(1)


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        (
            lambda w: w.pop("encoder.layers.2.fc1.bias"),
            "missing weights .*layers.2.feed_forward.inter",
        ),
        (
            lambda w: w.update({"encoder.layers.2.fc3.bias": torch.zeros(1)}),
            "surplus weights .*fc3.bias",
        ),
        (
            lambda w: w.update({"encoder.layers.9.fc1.bias": torch.zeros(1)}),
            "surplus weights .*layers.9",
        ),
        (
            lambda w: w.update({"layer_norm.bias": torch.zeros(5)}),
            r"projection|layer_norm.bias must be of shape \(64,\), got \(5,\)",
        ),
        (
            lambda w: w.update({"feature_extractor.conv_layers.0.2.weight": torch.zeros(1)}),
            "group norm",
        ),
    ],
)
def test_every_planted_defect_is_found(fairseq, defect, message):
    _, weights, expected = fairseq
    defect(weights)

    def load():
        ours = to_ours(weights, "fairseq")
        ours.pop("feature_mask.embedding")
        check_fit(ours, expected)

    with pytest.raises(ValueError, match=message):
        load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feat_extract_norm": "group"}, "group norm"),
        ({"do_stable_layer_norm": False}, "do_stable_layer_norm must be true"),
        ({"model_type": "hubert"}, "model_type must be wav2vec2, got 'hubert'"),
    ],
)
def test_other_models_are_refused_with_the_reason(tmp_path, change, message):
    (tmp_path / "config.json").write_text(json.dumps({**hf_config(), **change}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        read_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 2}, "num_attention_heads must be 4, got 2"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'"),
        ({"feat_extract_activation": "relu"}, "feat_extract_activation must be 'gelu'"),
        ({"layer_norm_eps": 0.1}, "layer_norm_eps must be 1e-05, got 0.1"),
        ({"conv_stride": [4, 2, 2, 2, 2, 2, 2]}, r"conv_stride must be \[5, 2, .*got \[4, 2,"),
        ({"num_conv_pos_embedding_groups": None}, "num_conv_pos_embedding_groups must be 16"),
        ({"conv_bias": "absent"}, "conv_bias must be True, got False"),
        (
            {"num_attention_heads": 2, "hidden_act": "relu"},
            "must be 4, got 2; hidden_act must be 'gelu', got 'relu'",
        ),
    ],
)
def test_an_encoder_that_computes_something_else_is_refused_with_every_difference(
    hf_folder, change, message
):
    encoder = StreamingEncoder(EncoderSpec(size="tiny"))
    assert encoder_weights(str(hf_folder), encoder)
    config = json.loads((hf_folder / "config.json").read_text()) | change
    config = {k: v for k, v in config.items() if v != "absent"}
    (hf_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"hf does not fit size tiny: .*{message}"):
        encoder_weights(str(hf_folder), encoder)


FAIRSEQ_MODEL = {
    "layer_norm_first": True,
    "extractor_mode": "layer_norm",
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "conv_feature_layers": "[(32, 10, 5)] + [(32, 3, 2)] + [(64, 3, 2)] * 3 + [(64, 2, 2)] * 2",
    "conv_bias": True,
    "conv_pos": 32,
    "conv_pos_groups": 16,
}


@pytest.mark.parametrize(
    "options",
    [
        lambda model: {"args": argparse.Namespace(**model), "cfg": None},
        lambda model: {"args": None, "cfg": {"model": model}},
        lambda model: {"cfg": {"model": argparse.Namespace(w2v_args={"model": model})}},
        lambda model: {"args": argparse.Namespace(w2v_args=argparse.Namespace(**model))},
    ],
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_first": False}, "layer_norm_first must be True, got False"),
        ({"encoder_attention_heads": 8}, "encoder_attention_heads must be 4, got 8"),
        ({"activation_fn": "relu"}, "activation_fn must be 'gelu', got 'relu'"),
        ({"conv_feature_layers": "[(32, 10, 5)] * 2"}, r"got \[\(32, 10, 5\), \(32, 10, 5\)\]"),
        ({"conv_feature_layers": "print()"}, r"got 'print\(\)'"),
        ({"conv_pos_groups": 8}, "conv_pos_groups must be 16, got 8"),
    ],
)
def test_what_a_fairseq_checkpoint_says_of_its_model_must_be_ours(
    fairseq, options, change, message
):
    path, weights, _ = fairseq
    encoder = StreamingEncoder(EncoderSpec(size="tiny"))
    torch.save({**options(FAIRSEQ_MODEL), "model": weights}, path)
    assert encoder_weights(str(path), encoder)
    torch.save({**options(FAIRSEQ_MODEL | change), "model": weights}, path)
    with pytest.raises(ValueError, match=f"56k.pt does not fit size tiny: .*{message}"):
        encoder_weights(str(path), encoder)


def test_weights_that_are_not_finite_are_refused_by_name(fairseq):
    path, weights, _ = fairseq
    weights["encoder.layer_norm.weight"][3] = float("nan")
    torch.save({"model": weights}, path)
    with pytest.raises(ValueError, match="not finite encoder.transformer.layer_norm.weight$"):
        encoder_weights(str(path), StreamingEncoder(EncoderSpec(size="tiny")))


def test_two_weights_for_one_place_are_refused():
    twice = {"encoder.layer_norm.bias": ONE, "w2v_model.encoder.layer_norm.bias": ONE}
    with pytest.raises(ValueError, match="two weights for encoder.transformer.layer_norm.bias"):
        to_ours(twice, "fairseq")


def test_a_checkpoint_that_wants_a_missing_package_says_which(fairseq, monkeypatch):
    path, weights, _ = fairseq
    module = types.ModuleType("nowhere.config")
    module.Options = type("Options", (), {"__module__": "nowhere.config"})
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "nowhere", types.ModuleType("nowhere"))
        patched.setitem(sys.modules, "nowhere.config", module)
        torch.save({"cfg": module.Options(), "model": weights}, path)
    with pytest.raises(ValueError, match="56k.pt: wants the package nowhere, which is not inst"):
        read_pretrained(str(path), trust_pickle=True)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "web page"])
def test_what_is_no_checkpoint_is_one_line(fairseq, damage, trust):
    path, _, _ = fairseq
    whole = path.read_bytes()
    contents = {"cut": whole[:-100_000], "empty": b"", "garbage": b"garbage", "web page": b"<html>"}
    path.write_bytes(contents[damage])
    with pytest.raises(ValueError, match=r"^\S*56k.pt: not a readable checkpoint.*$"):
        read_pretrained(str(path), trust_pickle=trust)


@pytest.mark.parametrize("error", [RuntimeError(""), struct.error("odd\nlines"), AttributeError()])
def test_whatever_torch_says_of_a_file_is_one_line(fairseq, error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ValueError, match=r"^\S*56k.pt: not a readable checkpoint: \w+$"):
        read_pretrained(str(fairseq[0]))


def test_a_file_of_a_folder_says_to_name_the_folder(hf_folder):
    for name in ("model.safetensors", "pytorch_model.bin"):
        shutil.copy(hf_folder / "config.json", hf_folder / name)
        with pytest.raises(ValueError, match=f"{name}: name its folder, .*/hf, with config.json"):
            check_name(str(hf_folder / name))


def test_a_path_in_a_folder_that_is_here_is_no_hugging_face_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_downloadable("exp/nothere")
    (tmp_path / "exp").mkdir()
    assert not is_downloadable("exp/nothere")
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        check_name("exp/nothere")


def test_an_empty_name_is_refused_though_it_is_a_path():
    with pytest.raises(ValueError, match="must not be empty"):
        check_name("")


def test_the_weights_alone_stand_for_a_folder(hf_folder):
    assert weight_files(str(hf_folder)) == [hf_folder / "model.safetensors"]
    (hf_folder / "pytorch_model.bin").touch()
    assert weight_files(str(hf_folder)) == [hf_folder / "model.safetensors"]
    (hf_folder / "model.safetensors").unlink()
    assert weight_files(str(hf_folder)) == [hf_folder / "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (p / "config.json").write_text("[1]"), "config.json must be a JSON object"),
        (lambda p: (p / "config.json").write_text("{}"), "config.json must .* with a model_type"),
        (lambda p: (p / "config.json").write_text("{"), "config.json is not readable as JSON"),
        (lambda p: (p / "config.json").write_bytes(b"\xff"), "config.json is not readable as JSON"),
        (lambda p: (p / "config.json").unlink(), "must hold config.json"),
        (
            lambda p: (p / "model.safetensors").unlink(),
            "must hold model.safetensors or",
        ),
        (
            lambda p: (p / "model.safetensors").write_bytes(b"xx"),
            "safetensors is not readable",
        ),
    ],
)
def test_a_broken_folder_is_an_error_naming_it(tmp_path, make, message):
    (tmp_path / "config.json").write_text(json.dumps(hf_config()))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    make(tmp_path)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}: .*{message}"):
        read_pretrained(str(tmp_path))


def test_a_name_of_nothing_is_an_error_with_a_hint():
    with pytest.raises(FileNotFoundError, match="WAV2VEC2_XLSR53"):
        read_pretrained("WAV2VEC_XLSR53")


def test_a_bundle_in_the_cache_is_torchaudios_model(tmp_path, monkeypatch):
    """XLSR-53's bundle, with a tiny model in its file."""
    shape = ARCHITECTURES["tiny"]
    bundle = torchaudio.pipelines.WAV2VEC2_XLSR53
    params = {
        **bundle._params,
        "extractor_conv_layer_config": [list(layer) for layer in shape.conv_layers],
        "encoder_embed_dim": shape.dim,
        "encoder_pos_conv_kernel": shape.position_kernel,
        "encoder_num_layers": shape.layers,
        "encoder_num_heads": shape.heads,
        "encoder_ff_interm_features": shape.feed_forward_dim,
    }
    monkeypatch.setenv("XLSR_PRETRAINED", str(tmp_path))
    path = tmp_path / "WAV2VEC2_XLSR53" / bundle._path
    path.parent.mkdir()
    torch.manual_seed(0)
    original = wav2vec2_model(**params).eval()
    torch.save(original.state_dict(), path)
    found = read_pretrained("WAV2VEC2_XLSR53")
    assert found.form == "torchaudio"
    samples = torch.randn(2, 9_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, _ = original(samples)
    frames = frames_of(our_encoder(found.weights), samples, monkeypatch)
    torch.testing.assert_close(frames, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "bundle"),
    [
        ("xlsr_300m", "WAV2VEC2_XLSR_300M"),
        ("xlsr_1b", "WAV2VEC2_XLSR_1B"),
        ("xlsr_2b", "WAV2VEC2_XLSR_2B"),
    ],
)
def test_a_size_has_the_places_of_its_bundle_and_no_other(size, bundle):
    with torch.device("meta"):
        encoder = StreamingEncoder(EncoderSpec(size=size))
        original = wav2vec2_model(**getattr(torchaudio.pipelines, bundle)._params)
    check_fit(to_ours(original.state_dict(), "torchaudio"), places(encoder))
