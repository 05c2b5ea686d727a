"""path.sh and the making of the environment."""

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


def make_executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


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


def test_an_interpreter_without_a_python_beside_it_is_told_what_is_missing(
    shell: Shell, tmp_path: Path
) -> None:
    make_executable(tmp_path / "bin/python3", "")
    done = shell("./run.sh", env={"XLSR_PYTHON": f"{tmp_path}/bin/python3"})
    assert done.returncode != 0
    assert done.stderr == (
        f"path.sh: XLSR_PYTHON={tmp_path}/bin/python3: {tmp_path}/bin has no program called "
        "python, as an environment's bin has\n"
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
