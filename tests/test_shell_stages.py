"""run.sh as a table of contents: which programs it calls, with what, in which order."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Shell
from stub_recipe import Recipe, value_of


@pytest.fixture
def recipe(tmp_path: Path, shell: Shell) -> Recipe:
    return Recipe(tmp_path / "the recipe", shell)


def test_the_whole_recipe_runs_in_order_and_ends_with_the_table(recipe: Recipe) -> None:
    done = recipe.run("--nj", "2")
    assert done.returncode == 0, done.stderr
    training = [f"train {s}" for s in range(1, 6)]
    assert recipe.steps == ["data", "tokens", *training, "decode", "score"]
    assert done.stdout.splitlines()[-1] == "output of score"
    assert "stage 2 done in " in done.stderr
    train = next(call for call in recipe.calls if call[0] == "train")
    assert train[1:] == [
        *("--stage", "1", "--data", "data/mini", "--tokens", "data/mini/token_list/char"),
        *("--size", "tiny", "--corpus", "mini", "--expdir", "exp/mini_tiny"),
        *("--ngpu", "0", "--seed", "1"),
    ]
    decode = [call[call.index("test") + 1 :] for call in recipe.calls if call[0] == "decode"]
    parts = [["--merge", "2"], ["--shard", "1/2"], ["--shard", "2/2"]]
    assert sorted(decode) == [["--device", "cpu", *part] for part in parts]
    assert (recipe.root / "exp/mini_tiny/log/train_stage5.log").exists()
    assert (recipe.root / "exp/mini_tiny/log/decode.2.log").exists()


def test_a_later_stage_first_makes_data_and_tokens_and_says_so(recipe: Recipe) -> None:
    done = recipe.run("--stage", "3", "--stop_stage", "4")
    assert done.returncode == 0, done.stderr
    assert recipe.steps == ["data", "tokens", "train 3", "train 4"]
    assert "stage 3 needs data and tokens: making what is missing" in done.stderr


def test_substage_restricts_training_to_itself(recipe: Recipe) -> None:
    done = recipe.run("--stage", "2", "--stop_stage", "5", "--substage", "2b,2d,5a")
    assert done.returncode == 0, done.stderr
    trained = {
        value_of(call, "--stage"): value_of(call, "--substage")
        for call in recipe.calls
        if call[0] == "train"
    }
    assert trained == {"2": "2b,2d", "5": "5a"}


@pytest.mark.parametrize(
    ("fail", "last"), [("data/mini/train/text", "tokens"), ("4", "train 4"), ("2/2", "decode")]
)
def test_a_failing_step_ends_the_run_with_its_message(recipe: Recipe, fail: str, last: str) -> None:
    done = recipe.run("--nj", "2", fail=fail)
    assert done.returncode != 0
    assert recipe.steps[-1] == last
    assert f"{last.split()[0]}: error: told to fail" in done.stderr
    assert "score" not in done.stdout


def test_debug_uses_folders_of_its_own(recipe: Recipe) -> None:
    assert recipe.run("--debug", "--nj", "1").returncode == 0
    for call in recipe.calls:
        assert not {"data/mini", "exp/mini_tiny"} & set(call)
    assert {"--debug", "data/mini_debug"} <= set(recipe.calls[0])
    score = recipe.calls[-1]
    assert value_of(score, "--expdir") == "exp/mini_tiny_debug"


def test_fsdd_starts_from_the_mini_model_and_shares_its_tokens(recipe: Recipe) -> None:
    folder = recipe.root / "digits here"
    done = recipe.run("--corpus", "fsdd", "--fsdd_dir", folder, "--stop_stage", "1")
    assert done.returncode == 0, done.stderr
    assert recipe.steps == ["data", "tokens", "train 1"] * 2
    assert "fsdd starts from the mini model" in done.stderr
    data, tokens, train = recipe.calls[3:]
    assert value_of(data, "--fsdd_dir") == str(folder)
    assert value_of(tokens, "--reuse") == "data/mini/token_list/char"
    assert value_of(tokens, "--output") == "data/fsdd/token_list/char"
    assert value_of(train, "--pretrained") == "exp/mini_tiny/stage1/valid.wer.best.pth"
    assert value_of(train, "--expdir") == "exp/fsdd_tiny"


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["--lang", "de"], "data/mini_de"),
        (["--corpus", "ami", "--corpus_dir", "d"], "data/ami_ihm"),
        (["--corpus", "ami", "--corpus_dir", "d", "--mic", "sdm"], "data/ami_sdm"),
        (["--corpus", "commonvoice", "--corpus_dir", "d", "--lang", "et"], "data/commonvoice_et"),
        (
            ["--corpus", "commonvoice", "--corpus_dir", "d", "--cv_train", "validated"],
            "data/commonvoice_en_validated",
        ),
        (["--corpus", "lhotse:librispeech", "--corpus_dir", "d"], "data/lhotse_librispeech"),
        (["--corpus", "lhotse:some/manifests"], "data/lhotse_manifests"),
        (["--corpus", "manifest:some/speech.jsonl.x"], "data/manifest_speech"),
        (["--corpus", "kaldi:some/where"], "data/kaldi_where"),
        (
            ["--corpus", "fsdd", "--fsdd_dir", "d", "--fsdd_split", "speaker:x"],
            "data/fsdd_speaker_x",
        ),
    ],
)
def test_another_language_or_split_has_a_folder_of_its_own(recipe, arguments, folder) -> None:
    assert recipe.run(*arguments, "--stop_stage", "-1").returncode == 0
    assert value_of(recipe.calls[-1], "--output") == folder


def test_gpus_train_and_decode_one_job_each(recipe: Recipe) -> None:
    done = recipe.run("--ngpu", "2", "--nj", "8", CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 0, done.stderr
    train = next(call for call in recipe.calls if call[0] == "train")
    assert value_of(train, "--ngpu") == "2"
    decode = [call for call in recipe.calls if call[0] == "decode"]
    assert all(value_of(call, "--device") == "cuda" for call in decode)


def test_own_kaldi_folder_and_paths_are_seen_from_where_the_user_calls(
    recipe: Recipe, tmp_path: Path
) -> None:
    done = recipe.run(
        *("--corpus", "kaldi:mine/ami", "--expdir", "results", "--stop_stage", "1"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    data, _, train = recipe.calls
    assert value_of(data, "--corpus") == f"kaldi:{tmp_path}/mine/ami"
    assert value_of(data, "--output") == "data/kaldi_ami"
    assert value_of(train, "--expdir") == f"{tmp_path}/results/kaldi_ami_tiny"


def test_a_corpus_folder_runs_the_recipe_on_its_corpus(recipe: Recipe, tmp_path: Path) -> None:
    script = "egs/xlsr_transducer/fsdd/run.sh"
    done = recipe.run("--fsdd_dir", "digits", "--stop_stage", "-1", script=script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert value_of(recipe.calls[-1], "--corpus") == "fsdd"
    assert value_of(recipe.calls[-1], "--fsdd_dir") == f"{tmp_path}/digits"


def test_without_a_checkpoint_the_callers_folder_is_none(recipe: Recipe, tmp_path: Path) -> None:
    done = recipe.run("--stop_stage", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--pretrained" not in recipe.calls[-1]


def test_an_unknown_backend_is_refused(recipe: Recipe, shell: Shell) -> None:
    done = shell(recipe.root / "run.sh", env={"cmd_backend": "slurn", "CALLS": "/dev/null"})
    assert done.returncode != 0
    assert done.stderr == "cmd.sh: cmd_backend must be local, slurm or sge, got 'slurn'\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--corpus", "fsdd", "--fsdd_dir", "d"], ["--corpus", "kaldi:mine"]]
)
@pytest.mark.parametrize("refuse", ["--check", "preflight"])
def test_what_the_checks_refuse_leaves_nothing_behind(
    recipe: Recipe, arguments: list[str], refuse: str
) -> None:
    before = sorted(recipe.root.iterdir())
    done = recipe.run(*arguments, REFUSE=refuse)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("error: told to refuse")
    assert recipe.calls == []
    assert {path.name for path in recipe.root.iterdir()} - {path.name for path in before} <= {
        "calls",
        "checks",
    }


def test_the_checks_get_the_options_that_they_check(recipe: Recipe) -> None:
    options = ("--stage", "2", "--stop_stage", "6", "--substage", "3b", "--sets", "dev,test")
    assert recipe.run(*options, "--size", "xlsr_300m", "--seed", "5").returncode == 0
    data, preflight = recipe.checks[:2]
    assert data[0] == "data"
    assert preflight == [
        *("preflight", "--stage", "2", "--stop_stage", "6", "--substage", "3b"),
        *("--sets", "dev", "test", "--backend", "local"),
        *("--data", "data/mini", "--tokens", "data/mini/token_list/char"),
        *("--size", "xlsr_300m", "--corpus", "mini", "--expdir", "exp/mini_xlsr_300m"),
        *("--ngpu", "0", "--seed", "5"),
    ]


def test_stages_with_nothing_to_do_start_no_job_and_keep_the_logs(recipe: Recipe) -> None:
    assert recipe.run("--nj", "1").returncode == 0
    logs = {path: path.read_text() for path in (recipe.root / "exp/mini_tiny/log").iterdir()}
    assert len(logs) == 6
    done = recipe.run("--nj", "1", PENDING="")
    assert done.returncode == 0, done.stderr
    assert recipe.steps == ["data", "tokens", "score"]
    assert {path: path.read_text() for path in logs} == logs


def test_a_mistake_that_all_jobs_share_is_said_once_before_they_start(recipe: Recipe) -> None:
    done = recipe.run("--nj", "2", "--stage", "6", REFUSE="decode")
    assert done.returncode != 0
    assert done.stderr.count("decode: error: told to refuse") == 1
    assert not (recipe.root / "exp").exists()


@pytest.mark.parametrize("spelling", ["ami", "./ami/", "../here/ami", "ami/x/.."])
def test_a_kaldi_folder_is_one_however_it_is_spelt(
    recipe: Recipe, tmp_path: Path, spelling: str
) -> None:
    (tmp_path / "here").mkdir()
    done = recipe.run(
        *("--corpus", f"kaldi:{spelling}", "--stop_stage", "-1"), cwd=tmp_path / "here"
    )
    assert done.returncode == 0, done.stderr
    assert value_of(recipe.calls[-1], "--corpus") == f"kaldi:{tmp_path}/here/ami"
    assert value_of(recipe.calls[-1], "--output") == "data/kaldi_ami"


def test_the_folder_one_stands_in_has_its_real_name(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "ami").mkdir()
    done = recipe.run("--corpus", "kaldi:.", "--stop_stage", "-1", cwd=tmp_path / "ami")
    assert done.returncode == 0, done.stderr
    assert value_of(recipe.calls[-1], "--output") == "data/kaldi_ami"


def test_only_a_debug_run_says_that_its_table_means_nothing(recipe: Recipe) -> None:
    message = "the WERs of a debug run mean nothing"
    assert message in recipe.run("--debug", "--nj", "1").stderr.splitlines()[-1]
    assert message not in recipe.run("--nj", "1").stderr


def test_what_a_corpus_came_as_reaches_its_preparation_as_an_absolute_path(recipe, tmp_path):
    call = ("--corpus", "lhotse:librispeech", "--corpus_dir", "d", "--parts", "train=a,dev=b")
    assert recipe.run(*call, "--stop_stage", "-1", cwd=tmp_path).returncode == 0
    data = recipe.calls[-1]
    assert value_of(data, "--corpus") == "lhotse:librispeech"
    assert value_of(data, "--corpus_dir") == str(tmp_path / "d")
    assert value_of(data, "--parts") == "train=a,dev=b"
    assert recipe.run("--corpus", "manifest:m/x.csv", cwd=tmp_path).returncode == 0
    assert value_of(recipe.calls[0], "--corpus") == f"manifest:{tmp_path}/m/x.csv"
    assert value_of(recipe.calls[-1], "--expdir") == "exp/manifest_x_tiny"


def test_an_encoder_that_is_missing_is_downloaded_before_training(recipe):
    done = recipe.run("--stage", "1", "--stop_stage", "1", FETCH="WAV2VEC2_XLSR53\n")
    assert done.returncode == 0, done.stderr
    assert recipe.steps == ["data", "tokens", "download", "train 1"]
    assert recipe.calls[2] == ["download", "WAV2VEC2_XLSR53"]


def test_a_dry_run_measures_the_stages_and_trains_nothing(recipe):
    done = recipe.run("--dry_run", "--stage", "2", FETCH="WAV2VEC2_XLSR53\n")
    assert done.returncode == 0, done.stderr
    assert recipe.steps == ["data", "tokens", "dry_run"]
    call = recipe.calls[-1]
    assert (value_of(call, "--stage"), value_of(call, "--stop_stage")) == ("2", "7")


def test_a_dry_run_of_fsdd_makes_minis_tokens_and_trains_nothing(recipe):
    done = recipe.run("--dry_run", "--corpus", "fsdd", "--fsdd_dir", "d")
    assert done.returncode == 0, done.stderr
    assert recipe.steps == ["data", "tokens", "data", "tokens", "dry_run"]


def test_fsdd_of_another_size_starts_from_that_sizes_own_encoder(recipe):
    call = ("--corpus", "fsdd", "--fsdd_dir", "d", "--size", "xlsr53", "--stop_stage", "1")
    assert recipe.run(*call).returncode == 0
    assert recipe.steps == ["data", "tokens", "train 1"]
    assert "--pretrained" not in recipe.calls[-1]
