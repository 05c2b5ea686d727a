"""Packing a sub-stage into one file, and reading it: by us, and as ESPnet unpacks it."""

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from toy_corpus import greedy_tokens, make_toy, talkative, train
from toy_model import noise, recognise
from toy_pack import members, score, write_trained_stage

from espnet_local.bin.pack import main
from espnet_local.decode.model import load_model
from espnet_local.decode.recognizer import Recognizer
from espnet_local.sharing.pack import shared_config
from espnet_local.stamp import clear_stamp, read_stamp

MEMBERS = {
    "meta.yaml", "config.yaml", "valid.wer.best.pth", "bpe.model", "tokens.txt", "README.md",
}  # fmt: skip


@pytest.fixture
def stage(tmp_path):
    """A finished sub-stage."""
    return write_trained_stage(tmp_path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A scored sub-stage in a packed file that no test changes."""
    root = tmp_path_factory.mktemp("packed")
    stage = write_trained_stage(root)
    score(stage)
    return pack(stage, root / "model.zip")


@pytest.fixture
def copy(packed, tmp_path):
    """A packed file to be changed."""
    return Path(shutil.copyfile(packed, tmp_path / "model.zip"))


def pack(stage, output, *more):
    main(["--model", str(stage), "--output", str(output), *more])
    return output


def rewrite(path, **changed):
    """The same zip with other members; None takes one out."""
    content = members(path) | {name.replace("__", "."): data for name, data in changed.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def unpacked(path, folder):
    from espnet2.main_funcs.pack_funcs import unpack

    return unpack(path, folder)


def test_a_packed_file_holds_what_espnet_and_a_reader_need(stage, tmp_path, capsys):
    path = pack(stage, tmp_path / "model.zip")
    assert capsys.readouterr().out == f"{path}\n"
    found = members(path)
    assert set(found) == MEMBERS
    assert found["tokens.txt"] == (stage / "tokens.txt").read_bytes()
    meta = yaml.safe_load(found["meta.yaml"])
    assert meta["yaml_files"] == {"asr_train_config": "config.yaml"}
    assert meta["files"] == {"asr_model_file": "valid.wer.best.pth"}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["exp", "model.zip"]


def test_no_path_of_the_machine_is_packed(packed):
    found = members(packed)
    assert set(found) == MEMBERS | {"results.tsv"}
    for name, content in found.items():
        assert str(packed.parent).encode() not in content, name
        assert packed.parent.parent.name.encode() not in content, name
    config = yaml.safe_load(found["config.yaml"])
    assert config["bpemodel"] == "bpe.model"
    for key in (
        "config", "output_dir", "noise_scp", "dist_init_method", "init_param",
        "train_data_path_and_name_and_type",
    ):  # fmt: skip
        assert key not in config


def test_a_shared_config_has_the_model_and_its_training_only():
    paths = ["/a/b", "a/b", "-I/home/ann/x", "../ann/secret/x", "C:\\Users\\ann", "~ann", ".."]
    config = {
        "token_list": ["<blank>", *paths],
        "bpemodel": "/a/bpe.model",
        "rir_scp": "ann",
        "of_a_later_espnet": "ann",
        "encoder": "xlsr_streaming",
        "non_linguistic_symbols": "exp/symbols.txt",
        "optim_conf": {"lr": 0.001, "betas": [0.9, 0.98]},
        "preprocessor_conf": {"effects": [[1.0, "speed_perturb", {"factor": 0.9}], paths]},
    }
    assert shared_config(config) == {
        "token_list": ["<blank>", *paths],
        "bpemodel": "bpe.model",
        "encoder": "xlsr_streaming",
        "non_linguistic_symbols": None,
        "optim_conf": {"lr": 0.001, "betas": [0.9, 0.98]},
        "preprocessor_conf": {
            "effects": [[1.0, "speed_perturb", {"factor": 0.9}], [None] * len(paths)]
        },
    }


def test_folder_packed_file_and_what_espnet_unpacks_are_the_same_model(stage, tmp_path):
    path = pack(stage, tmp_path / "model.zip")
    unpacked(path, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    shutil.copytree(stage, tmp_path / "kept")
    shutil.rmtree(tmp_path / "exp")
    samples = noise(60_000)
    expected = recognise(Recognizer.from_pretrained(tmp_path / "kept"), samples)
    weights = load_model(tmp_path / "kept").model.state_dict()
    assert len(expected.tokens) > 5
    for place in (path, str(path), tmp_path / "moved"):
        found = load_model(place).model.state_dict()
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
        assert recognise(Recognizer.from_pretrained(place), samples) == expected


def test_a_packed_file_is_read_without_espnet_and_without_extraction(copy, tmp_path):
    code = (
        "import sys; from espnet_local.decode.recognizer import Recognizer;"
        f"Recognizer.from_pretrained('{copy}');"
        "print([m for m in sys.modules if m.startswith('espnet2')])"
    )
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout == "[]\n"
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_a_user_packed_under_other_names_is_read(copy, packed):
    content = members(copy)
    meta = {
        "yaml_files": {"asr_train_config": "exp/a/config.yaml"},
        "files": {"asr_model_file": "exp/a/7epoch.pth"},
    }
    with zipfile.ZipFile(copy, "w") as archive:
        archive.writestr("meta.yaml", yaml.safe_dump(meta))
        archive.writestr("exp/a/config.yaml", content["config.yaml"])
        archive.writestr("exp/a/bpe.model", content["bpe.model"])
        archive.writestr("exp/a/7epoch.pth", content["valid.wer.best.pth"])
    assert load_model(copy).tokenizer.tokens == load_model(packed).tokenizer.tokens
    assert load_model(copy, "7epoch.pth")
    with pytest.raises(ValueError, match="model.zip: checkpoint 'valid.wer.best.pth' is not in"):
        load_model(copy, "valid.wer.best.pth")


def flip(path, member):
    """Changes one byte of a member."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read(member)
    raw = bytearray(path.read_bytes())
    raw[raw.index(content) + len(content) // 2] ^= 255
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:4_000_000]), "model.zip: not a packed model: "),
        # The directory of the checkpoint, a zip itself, is taken for that of the whole.
        (lambda p: p.write_bytes(p.read_bytes()[:-3000]), "meta.yaml: no such member: damaged"),
        (lambda p: p.write_text("foreign"), "model.zip: not a packed model: File is not a zip"),
        (lambda p: flip(p, "valid.wer.best.pth"), "zip: valid.wer.best.pth: damaged: Bad CRC-32"),
        (lambda p: flip(p, "bpe.model"), "model.zip: bpe.model: damaged: Bad CRC-32"),
        (lambda p: rewrite(p, meta__yaml=None), "model.zip: meta.yaml: no such member"),
        (lambda p: rewrite(p, bpe__model=None), "model.zip: bpe.model: no such member"),
        (lambda p: rewrite(p, config__yaml=None), "model.zip: config.yaml: no such member"),
        (lambda p: rewrite(p, meta__yaml="- a"), "model.zip: meta.yaml: must hold a mapping"),
        (
            lambda p: rewrite(p, meta__yaml="yaml_files: {train_config: config.yaml}"),
            r"meta.yaml: yaml_files.asr_train_config must name a file, got None",
        ),
        (
            lambda p: rewrite(p, config__yaml="encoder: conformer"),
            "model.zip: config.yaml: encoder must be 'xlsr_streaming', got 'conformer'",
        ),
        (lambda p: rewrite(p, bpe__model="x"), "model.zip: bpe.model: not a SentencePiece model"),
        (
            lambda p: rewrite(p, **{"valid.wer.best.pth": b"x"}),
            "model.zip: valid.wer.best.pth: not a readable checkpoint",
        ),
    ],
)
def test_a_damaged_or_foreign_file_is_an_error_naming_file_and_member(copy, damage, message):
    damage(copy)
    with pytest.raises(ValueError, match=message) as caught:
        Recognizer.from_pretrained(copy)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_a_zip_but_no_packed_model(stage):
    with pytest.raises(ValueError, match=r"valid.wer.best.pth: meta.yaml: no such member"):
        load_model(stage / "valid.wer.best.pth")


def test_a_packed_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_model(tmp_path / "gone.zip")
    assert caught.value.filename == str(tmp_path / "gone.zip")


def test_an_unfinished_or_broken_sub_stage_is_refused_and_nothing_is_left(stage, tmp_path):
    weights = (stage / "valid.wer.best.pth").read_bytes()
    (stage / "valid.wer.best.pth").write_bytes(weights[:5000])
    with pytest.raises(ValueError, match="valid.wer.best.pth: not a readable checkpoint"):
        pack(stage, tmp_path / "model.zip")
    (stage / "valid.wer.best.pth").write_bytes(weights)
    clear_stamp(stage)
    with pytest.raises(ValueError, match=r"stage5b: not finished \(no .done.json\); train it"):
        pack(stage, tmp_path / "model.zip")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        pack(tmp_path / "nowhere", tmp_path / "model.zip")
    assert [entry.name for entry in tmp_path.iterdir()] == ["exp"]


def test_a_file_that_is_there_is_kept_without_force(stage, tmp_path):
    path = tmp_path / "model.zip"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"model.zip is there already; --force replaces it"):
        pack(stage, path)
    assert path.read_text() == "mine"
    pack(stage, path, "--force")
    assert set(members(path)) == MEMBERS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--output", "model.tar"), "the output must end in .zip, got 'model.tar'"),
        (("--output", "folder.zip"), "folder.zip is a folder"),
        (("--licence", "mine: all"), "must be an identifier such as apache-2.0, got 'mine: all'"),
    ],
)
def test_bad_options_are_errors_that_name_them(stage, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(ValueError, match=message):
        main(["--model", str(stage), *options])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["exp", "folder.zip"]


def test_packing_that_fails_leaves_the_old_file_and_nothing_else(stage, tmp_path, monkeypatch):
    path = tmp_path / "model.zip"
    path.write_text("mine")
    monkeypatch.setattr("espnet_local.sharing.pack.sys.executable", shutil.which("false"))
    with pytest.raises(OSError, match="ESPnet's packing failed: exit status 1"):
        pack(stage, path, "--force")
    assert path.read_text() == "mine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["exp", "model.zip"]


def test_the_shell_program_says_what_is_wrong_in_one_line(shell, tmp_path):
    done = shell("local/pack_model.sh", "--model", tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stderr == (
        f"espnet_local.bin.pack: error: no such folder: {tmp_path}/nowhere\n"
    )  # fmt: skip


def test_the_shell_program_takes_paths_from_where_it_is_called(shell, stage):
    done = shell(
        ROOT / "local/pack_model.sh", "--model", "stage5b", "--output", "../my.zip",
        cwd=stage.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "../my.zip\n"
    assert set(members(stage.parent.parent / "my.zip")) == MEMBERS


@pytest.mark.slow
def test_espnet_unpacks_a_trained_model_and_gives_our_tokens(tmp_path, monkeypatch):
    from espnet2.bin.asr_inference import Speech2Text

    make_toy(tmp_path)
    monkeypatch.setenv("XLSR_CALL", "./run.sh --corpus toy")
    train(tmp_path, monkeypatch, "--stage", "1")
    train(tmp_path, monkeypatch, "--stage", "2", "--substage", "2b")
    stage = tmp_path / "exp/stage2b"
    stamp = read_stamp(stage)
    assert stamp["made_by"]["call"] == "./run.sh --corpus toy"
    assert stamp["made_by"]["torch"] == metadata.version("torch")
    assert stamp["corpus"]["name"] == "data"
    checkpoint = (stage / "valid.wer.best.pth").resolve()
    torch.save(talkative(torch.load(checkpoint, weights_only=True)), checkpoint)
    path = pack(stage, tmp_path / "model.zip")
    assert not any(str(tmp_path).encode() in content for content in members(path).values())
    files = unpacked(path, tmp_path / "unpacked")
    shutil.rmtree(tmp_path / "exp")
    theirs = Speech2Text(**files, beam_size=1, ctc_weight=0.0)
    seen = set()
    for their_tokens, our_tokens in greedy_tokens(theirs, load_model(path)):
        assert our_tokens == their_tokens
        seen.add(tuple(our_tokens))
    assert len(seen) > 1
