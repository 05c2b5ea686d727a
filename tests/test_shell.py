"""The shell side: run.sh as a table of contents, path.sh and the making of the environment.

The programs that run.sh calls are replaced by stubs that write down how they were called; the
whole recipe with the real ones runs in test_run_debug.py.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT, Shell

STUB = """\
import os, sys
with open(os.environ["CALLS"], "a") as calls:
    print("{name}", *sys.argv[1:], sep="|", file=calls)
if os.environ.get("FAIL") in sys.argv:
    sys.exit("{name}: error: told to fail")
print("output of {name}")
"""


def make_executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Recipe:
    """A copy of the recipe's shell side in which the programs that it calls are stubs."""

    def __init__(self, root: Path, shell: Shell) -> None:
        self.root = root
        self._shell = shell
        self._calls = root / "calls"
        root.mkdir()
        for name in ("run.sh", "path.sh", "cmd.sh", "local", "egs"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("corpora"))
            else:
                shutil.copy(source, root / name)
        (root / "local/tokens.py").write_text(STUB.format(name="tokens"))
        (root / "local/corpora.py").write_text(STUB.format(name="data"))
        stubs = root / "espnet_local/bin"
        stubs.mkdir(parents=True)
        (root / "espnet_local/__init__.py").touch()
        (stubs / "__init__.py").touch()
        for name in ("train", "decode", "score"):
            (stubs / f"{name}.py").write_text(STUB.format(name=name))
        (stubs / "check.py").touch()

    def run(
        self,
        *arguments: str | Path,
        fail: str = "-",
        cwd: Path | None = None,
        script: str = "run.sh",
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        self._calls.write_text("")
        env = {"CALLS": str(self._calls), "FAIL": fail, **variables}
        return self._shell(self.root / script, *arguments, cwd=cwd or self.root, env=env)

    @property
    def calls(self) -> list[list[str]]:
        """The calls of the last run in order, each as its words."""
        return [line.split("|") for line in self._calls.read_text().splitlines()]

    @property
    def steps(self) -> list[str]:
        """The steps of the last run in order: `data`, `tokens`, `train 2`, ..."""
        names = []
        for call in self.calls:
            name = call[0]
            if name == "train":
                name += " " + call[call.index("--stage") + 1]
            if not names or names[-1] != name:
                names.append(name)
        return names


@pytest.fixture
def recipe(tmp_path: Path, shell: Shell) -> Recipe:
    return Recipe(tmp_path / "the recipe", shell)


def value_of(call: list[str], option: str) -> str:
    return call[call.index(option) + 1]


# Options


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
        (["--nj", "0"], "--nj must be >= 1, got 0"),
        (["--ngpu", "-1"], "--ngpu must be >= 0, got -1"),
        (["--size", "tine"], "--size must be one of tiny, xlsr_300m, got 'tine'"),
        (["--substage", "6a"], "--substage: '6a' does not fit (train only these, such as 2b"),
        (["--substage", "2b", "--stage", "3"], "--substage 2b is not in stages 3 to 7"),
        (["--debug=maybe"], "--debug must be true or false, got 'maybe'"),
        (["--corpus", "libri"], "--corpus must be mini, fsdd or kaldi:<folder>, got 'libri'"),
        (["--corpus", "fsdd"], "--corpus fsdd needs --fsdd_dir, the folder that holds"),
        (["--fsdd_dir", "x"], "--fsdd_dir needs --corpus fsdd, got mini"),
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


# Stages


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
        (["--language", "de"], "data/mini_de"),
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


def test_an_unknown_backend_is_refused(recipe: Recipe, shell: Shell) -> None:
    done = shell(recipe.root / "run.sh", env={"cmd_backend": "slurn", "CALLS": "/dev/null"})
    assert done.returncode != 0
    assert done.stderr == "cmd.sh: cmd_backend must be local, got 'slurn'\n"


# The environment


def test_path_works_from_any_folder_under_strict_settings_and_is_silent(
    shell: Shell, tmp_path: Path
) -> None:
    script = f". '{ROOT}/path.sh'; python -c 'import sys, local.jobs; print(sys.executable)'"
    done = shell("bash", "-euo", "pipefail", "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == Path(sys.executable).parent
    assert done.stderr == ""


@pytest.mark.parametrize("value", ["python3", "/no/such/python"])
def test_an_environment_that_is_none_is_refused_in_one_line(shell: Shell, value: str) -> None:
    done = shell("./run.sh", env={"XLSR_PYTHON": value})
    assert done.returncode != 0
    assert done.stderr == (
        "path.sh: XLSR_PYTHON must be the absolute path of an environment's bin/python, "
        f"got '{value}'\n"
    )


FAKE_UV = """\
#!/usr/bin/env bash
echo "uv $*" >>"$CALLS"
sleep "${SLEEP:-0}"
[[ -z ${FAIL:-} ]] || { echo "no space left on device"; exit 1; }
"""

FAKE_PYTHON = f"""\
#!/usr/bin/env bash
case "$*" in
    *ensurepip*) exit 0 ;;
    *fcntl*) exec {sys.executable} "$@" ;;
    "-m venv .venv") echo "venv" >>"$CALLS"; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    "-m pip install uv=="*) cp "$FAKE_UV" .venv/bin/uv ;;
    *) exit 9 ;;
esac
"""


class Clone:
    """A fresh clone whose python and uv only write down that they were called."""

    def __init__(self, root: Path, shell: Shell) -> None:
        self.root = root
        for name in ("path.sh", "requirements.txt", "local/setup_env.sh"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        make_executable(root / "bin/python3.11", FAKE_PYTHON)
        make_executable(root / "bin/uv", FAKE_UV)
        (root / "calls").touch()
        self._shell = shell

    def source(self, **env: str) -> subprocess.CompletedProcess[str]:
        own = {
            "XLSR_PYTHON": "",
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.root / "calls"),
            "FAKE_UV": str(self.root / "bin/uv"),
        }
        return self._shell("bash", "-euc", ". ./path.sh", cwd=self.root, env={**own, **env})

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def clone(tmp_path: Path, shell: Shell) -> Clone:
    return Clone(tmp_path / "fresh clone", shell)


INSTALL = "uv pip install --python .venv/bin/python --no-deps -r requirements.txt"


def test_the_environment_is_made_once_and_then_used_in_silence(clone: Clone) -> None:
    first = clone.source()
    assert first.returncode == 0, first.stderr
    assert "setting up the environment in .venv (once, a minute or two)" in first.stderr
    assert clone.calls == ["venv", INSTALL]
    second = clone.source()
    assert (second.returncode, second.stderr, second.stdout) == (0, "", "")
    assert clone.calls == ["venv", INSTALL]


def test_a_failed_setup_shows_the_end_of_its_log_and_is_redone(clone: Clone) -> None:
    failed = clone.source(FAIL="1")
    assert failed.returncode != 0
    assert "no space left on device" in failed.stderr
    assert failed.stderr.splitlines()[-1].endswith(
        "setting up the environment failed: see .venv/setup.log"
    )
    (clone.root / ".venv/half-made").touch()
    assert clone.source().returncode == 0
    assert not (clone.root / ".venv/half-made").exists()
    assert clone.calls == ["venv", INSTALL] * 2


def test_a_changed_list_updates_the_environment_in_place(clone: Clone) -> None:
    clone.source()
    (clone.root / ".venv/kept").touch()
    with (clone.root / "requirements.txt").open("a") as stream:
        stream.write("another==1.0\n")
    changed = clone.source()
    assert "updating the environment in .venv from requirements.txt" in changed.stderr
    assert clone.calls == ["venv", INSTALL, INSTALL]
    assert (clone.root / ".venv/kept").exists()


def test_two_first_uses_at_once_make_one_environment(clone: Clone) -> None:
    results: list[int] = []

    def use() -> None:
        results.append(clone.source(SLEEP="0.5").returncode)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0]
    assert clone.calls == ["venv", INSTALL]


def test_a_users_own_venv_is_left_alone(clone: Clone) -> None:
    (clone.root / ".venv").mkdir()
    (clone.root / ".venv/precious").touch()
    done = clone.source()
    assert done.returncode != 0
    assert ".venv was not made by path.sh: move it away" in done.stderr
    assert (clone.root / ".venv/precious").exists()
