"""The check of what a machine has."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Shell

from espnet_local.bin import check


def test_everything_is_there_where_the_tests_run(shell: Shell) -> None:
    done = shell(sys.executable, "-m", "espnet_local.bin.check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^  torch +2\.11\.", done.stdout, re.M)
    assert re.search(r"^  espnet +202511$", done.stdout, re.M)
    assert re.search(r"^  CPU +\d+ cores", done.stdout, re.M)
    assert done.stdout.splitlines()[-1] == "everything required is there"


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "REQUIRED", (*check.REQUIRED, "no-such-package"))
    monkeypatch.setattr(sys, "argv", ["check", "--missing"])
    assert check.main() == 1
    out = capsys.readouterr().out
    assert out.startswith("check: missing packages: no-such-package; install them with: ")
    assert f"-r {ROOT / 'requirements.txt'}" in out
    assert len(out.splitlines()) == 1


def test_a_package_that_does_not_load_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        if name == "torchaudio":
            raise OSError("libc10_cuda.so: cannot open shared object file")

    monkeypatch.setattr(check.importlib, "import_module", refuse)
    monkeypatch.setattr(sys, "argv", ["check"])
    assert check.main() == 1
    assert "torchaudio does not load: libc10_cuda.so" in capsys.readouterr().out


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.sys, "version_info", (3, 13, 0))
    assert check.missing_parts()[0].startswith("python must be 3.10, 3.11 or 3.12, got")


def project_dependencies() -> set[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.M | re.S)
    assert block is not None
    return set(re.findall(r'^    "([a-z][a-z0-9-]*)', block[1], re.M))


def test_check_asks_for_what_the_package_depends_on() -> None:
    assert set(check.REQUIRED) == project_dependencies()


def test_every_dependency_is_pinned_and_no_list_names_an_index() -> None:
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    development = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    lines = (pinned + development).splitlines()
    assert [line for line in lines if not re.match(r"[a-z0-9-]+==[^\s]+( ;|$)", line)] == []
    assert project_dependencies() <= {line.partition("==")[0] for line in pinned.splitlines()}
