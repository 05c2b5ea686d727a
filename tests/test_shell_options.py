"""The options of run.sh."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Shell
from stub_recipe import Recipe, value_of

from espnet_local.config import load_yaml
from local.corpora.grammar import GRAMMARS_PATH


@pytest.fixture
def recipe(tmp_path: Path, shell: Shell) -> Recipe:
    return Recipe(tmp_path / "the recipe", shell)


def test_help_shows_the_stages_and_every_option(shell: Shell) -> None:
    done = shell("./run.sh", "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for word in ("--stage", "--stop_stage", "--substage", "--corpus", "--ngpu", "--nj", "--debug"):
        assert f"  {word} " in done.stdout
    assert "stage2a ... 2d" in done.stdout
    assert "(-1)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stge", "3"], "unknown option '--stge', did you mean '--stage'? (--help lists them)"),
        (["--vocab-sise=3"], "unknown option '--vocab-sise', did you mean '--vocab_size'?"),
        (["--xyzzyplugh"], "unknown option '--xyzzyplugh' (--help lists them)"),
        (["mini"], "unexpected argument 'mini' (options start with --)"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "2b"], "--stage must be a whole number, got '2b'"),
        (["--stage", "-2"], "--stage must be >= -1, got -2"),
        (["--stage=9"], "--stage must be <= 7, got 9"),
        (["--stage", "5", "--stop_stage", "2"], "--stage must be <= --stop_stage, got 5 > 2"),
        (["--dry_run", "--stop_stage", "0"], "--dry_run measures stages 1 to 5, got -1 to 0"),
        (["--nj", "0"], "--nj must be >= 1, got 0"),
        (["--ngpu", "-1"], "--ngpu must be >= 0, got -1"),
        (["--size", "a/b"], "--size: 'a/b' does not fit (of the model: tiny, xlsr53"),
        (["--mic", "mdm"], "--mic must be one of ihm, sdm, got 'mdm'"),
        (["--substage", "6a"], "--substage: '6a' does not fit (train only these, such as 2b"),
        (["--substage", "2b", "--stage", "3"], "--substage 2b is not in stages 3 to 7"),
        (["--debug=maybe"], "--debug must be true or false, got 'maybe'"),
        (["--corpus", "libri"], "--corpus must be mini, fsdd, ami, commonvoice, lhotse:<recipe or"),
        (["--corpus", "kaldi:"], "--corpus must be mini, fsdd, "),
        (["--corpus", "ami"], "--corpus ami needs --corpus_dir, the folder"),
        (["--corpus", "commonvoice"], "--corpus commonvoice needs --corpus_dir, a release"),
        (["--corpus_dir", "x"], "--corpus_dir needs --corpus ami, commonvoice, lhotse, got mini"),
        (["--corpus", "ami", "--lang", "de"], "--lang needs --corpus mini, commonvoice, got ami"),
        (["--parts", "train=a"], "--parts needs --corpus lhotse, got mini"),
        (["--cv_train", "train"], "--cv_train needs --corpus commonvoice, got mini"),
        (["--corpus", "fsdd"], "--corpus fsdd needs --fsdd_dir, the folder that holds"),
        (["--fsdd_dir", "x"], "--fsdd_dir needs --corpus fsdd, got mini"),
        (["--fsdd_split", "speaker:x"], "--fsdd_split needs --corpus fsdd, got mini"),
        (
            ["--lang", "de", "--corpus", "kaldi:x"],
            "--lang needs --corpus mini, commonvoice, got kaldi:x",
        ),
        (["--audio_format", "mp3"], "--audio_format must be one of flac.ark, wav, flac, got 'mp3'"),
        (["--tag", "a/b"], "--tag: 'a/b' does not fit"),
    ],
)
def test_a_mistake_in_the_call_is_one_line_and_status_2(
    shell: Shell, arguments: list[str], message: str
) -> None:
    done = shell("./run.sh", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run.sh: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_options_are_understood_with_equals_sign_dashes_and_leading_zeros(recipe: Recipe) -> None:
    done = recipe.run(
        "--stop-stage=0",
        "--nj",
        "08",
        "--vocab_size=100",
        "--token_type",
        "unigram",
        "--debug",
        "false",
    )
    assert done.returncode == 0, done.stderr
    data, tokens = recipe.calls
    assert value_of(data, "--nj") == "8"
    assert value_of(tokens, "--output") == "data/mini/token_list/unigram_100"
    assert "--debug" not in data


def test_help_lists_the_values_of_options_that_take_a_few(shell: Shell) -> None:
    shown = shell("./run.sh", "--help").stdout
    *others, last = load_yaml(GRAMMARS_PATH)
    assert f"of mini: {', '.join(others)} or {last}; of commonvoice: any (en)" in shown
    assert "official, or speaker:<name>" in shown
    assert "flac.ark, wav or flac" in shown


def test_the_programs_are_told_how_the_user_called_but_for_the_stages(
    recipe: Recipe, tmp_path: Path
) -> None:
    """For hints such as `./run.sh --debug true --stage 1`."""
    (recipe.root / "local/tokens.py").write_text(
        "import os; open('call', 'w').write(os.environ['XLSR_CALL'])"
    )
    done = recipe.run(
        *("--debug", "--stage", "0", "--stop_stage=0", "--tag", "x", "--corpus", "kaldi:mine")
    )
    assert done.returncode == 0, done.stderr
    call = (recipe.root / "call").read_text()
    folder = str(recipe.root / "mine").replace(" ", "\\ ")
    assert call == (str(recipe.root / "run.sh") + f" --debug true --tag x --corpus kaldi:{folder}")


@pytest.mark.parametrize("script", ["run.sh", "path.sh"])
def test_another_shell_than_bash_is_told_so(shell: Shell, script: str) -> None:
    done = shell("bash", "-c", f"unset BASH_VERSION; . ./{script}")
    assert done.returncode != 0
    assert done.stderr.startswith(f"{script}: ")
    assert done.stderr.endswith(" it with bash\n")
    assert done.stderr.count("\n") == 1
