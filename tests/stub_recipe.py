"""The recipe's shell side with stubs in the place of the programs that it calls.

The whole recipe with the real ones runs in test_run_debug.py.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from conftest import ROOT, Shell

STUB = """\
import os, sys
quiet = "{name}" in ("preflight", "statistics") or {{"--check", "--pending"}} & set(sys.argv)
with open(os.environ["CHECKS" if quiet else "CALLS"], "a") as calls:
    print("{name}", *sys.argv[1:], sep="|", file=calls)
if os.environ["REFUSE"] in ("{name}", *sys.argv[1:]):
    sys.exit("{name}: error: told to refuse")
if "--pending" in sys.argv:
    print(os.environ["PENDING"], end="")
if "{name}" == "preflight":
    print(os.environ["FETCH"], end="")
if quiet:
    sys.exit()
if os.environ.get("FAIL") in sys.argv:
    sys.exit("{name}: error: told to fail")
print("output of {name}")
"""


class Recipe:
    """A copy of the recipe's shell side in which the programs that it calls are stubs."""

    def __init__(self, root: Path, shell: Shell) -> None:
        self.root = root
        self._shell = shell
        self._calls = root / "calls"
        self._checks = root / "checks"
        root.mkdir()
        for name in ("run.sh", "path.sh", "cmd.sh", "local", "egs"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("corpora"))
            else:
                shutil.copy(source, root / name)
        (root / "local/preflight.py").write_text(STUB.format(name="preflight"))
        (root / "local/pretrained.py").write_text(STUB.format(name="download"))
        (root / "local/corpus_statistics.py").write_text(STUB.format(name="statistics"))
        (root / "local/tokens.py").write_text(STUB.format(name="tokens"))
        (root / "local/corpora.py").write_text(STUB.format(name="data"))
        stubs = root / "espnet_local/bin"
        stubs.mkdir(parents=True)
        (root / "espnet_local/__init__.py").touch()
        (stubs / "__init__.py").touch()
        for name in ("train", "decode", "score", "dry_run"):
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
        self._checks.write_text("")
        env = {"CALLS": str(self._calls), "CHECKS": str(self._checks), "FAIL": fail}
        env |= {"PENDING": "all", "REFUSE": "-", "FETCH": "", **variables}
        return self._shell(self.root / script, *arguments, cwd=cwd or self.root, env=env)

    @property
    def calls(self) -> list[list[str]]:
        """The calls of the last run in order, each as its words, but for those that only check."""
        return [line.split("|") for line in self._calls.read_text().splitlines()]

    @property
    def checks(self) -> list[list[str]]:
        """The calls of the last run that only check."""
        return [line.split("|") for line in self._checks.read_text().splitlines()]

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


def value_of(call: list[str], option: str) -> str:
    return call[call.index(option) + 1]
