"""The real recipe from nothing to the WER table, on a sliver of data."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Shell

pytestmark = pytest.mark.slow

SUBSTAGES = ["1", "2a", "2b", "2c", "2d", "3a", "3b", "3c", "4", "5a", "5b"]
COLUMNS = (
    "substage dataset chunk_ms left_chunks sink_frames decoding method "
    "snt wrd corr sub del ins err s_err "
    "alg_ms em_p50_ms em_p90_ms em_p99_ms first_ms final_ms rtf mem_mb model"
)


class DebugRun:
    """`./run.sh --debug` in folders of its own."""

    def __init__(self, folder: Path, shell: Shell) -> None:
        self.exp = folder / "exp/mini_tiny_debug"
        self._folder = folder
        self._shell = shell

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        folders = ("--data", str(self._folder / "data"), "--expdir", str(self._folder / "exp"))
        return self._shell("./run.sh", "--debug", "--nj", "2", *folders, *arguments)

    def models(self) -> dict[str, int]:
        """When each sub-stage's best checkpoint was last written, in ns."""
        paths = {name: self.exp / f"stage{name}/valid.wer.best.pth" for name in SUBSTAGES}
        return {name: path.stat().st_mtime_ns for name, path in paths.items() if path.exists()}


def test_debug_run_reaches_the_table_then_skips_then_redoes_what_changed(
    tmp_path: Path, shell: Shell
) -> None:
    run = DebugRun(tmp_path, shell)

    orphan = run("--stage", "2", "--stop_stage", "2")
    assert orphan.returncode != 0
    errors = [line for line in orphan.stderr.splitlines() if ": error: " in line]
    assert len(errors) == 1
    assert "2a starts from 1, not trained yet" in errors[0]
    assert run.models() == {}
    assert list(tmp_path.iterdir()) == []  # it is said before data is made

    first = run()
    assert first.returncode == 0, first.stderr[-4000:]
    assert sorted(run.models()) == SUBSTAGES
    for name in SUBSTAGES:
        assert f"sub-stage {name}: validation loss " in first.stderr

    with (run.exp / "results.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert " ".join(rows[0]) == COLUMNS
    assert {row["substage"] for row in rows} == set(SUBSTAGES)
    contexts = {(row["chunk_ms"], row["sink_frames"]) for row in rows if row["substage"] == "5b"}
    assert contexts >= {("full", "0"), ("320", "16")}
    assert {row["method"] for row in rows} == {"greedy", "beam"}
    results = (run.exp / "RESULTS.md").read_text(encoding="utf-8")
    lines = [line for line in first.stdout.splitlines() if line.startswith("|")]
    table = lines[: len(rows) + 2]
    assert all(line in results for line in lines)
    assert sum(line.startswith("| 5b ") for line in table) >= 4

    logs = {path: path.read_bytes() for path in (run.exp / "log").iterdir()}
    made = run.models()
    second = run()
    assert {path: path.read_bytes() for path in logs} == logs
    assert second.returncode == 0, second.stderr[-4000:]
    assert run.models() == made
    assert [line for line in second.stdout.splitlines() if line.startswith("|")] == lines
    assert "sub-stage 5b: unchanged, skipped" in second.stderr

    changed = run("--seed", "2", "--stage", "1", "--stop_stage", "1")
    assert changed.returncode == 0, changed.stderr[-4000:]
    redone = [name for name, time_ns in run.models().items() if time_ns != made[name]]
    assert redone == ["1"]
    mixed = run("--seed", "2", "--stage", "6")
    warned = [line for line in mixed.stderr.splitlines() if "descends from a sub-stage 1" in line]
    assert len(warned) == 4
    assert "--seed 2 --stage 2" in warned[0]


def test_a_killed_stage_is_resumed_and_not_taken_for_finished(tmp_path: Path, shell: Shell) -> None:
    """Ended by a signal while stage 1 trains, the next call finishes it."""
    run = DebugRun(tmp_path, shell)
    assert run("--stop_stage", "0").returncode == 0
    folders = ["--data", str(tmp_path / "data"), "--expdir", str(tmp_path / "exp")]
    command = ["./run.sh", "--debug", *folders, "--stage", "1", "--stop_stage", "1"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "CTC warm start 4/4" in line:
                break
        os.killpg(process.pid, signal.SIGTERM)
        process.stderr.read()  # to the end, when the last of the group has gone
    assert process.returncode != 0
    assert not (run.exp / "stage1/.done.json").exists()
    resumed = run("--stage", "1", "--stop_stage", "1")
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    assert list(run.models()) == ["1"]
    assert "going on where it stopped" in (run.exp / "log/train_stage1.log").read_text()
