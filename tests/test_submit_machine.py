"""This machine as a backend: memory, retries, dry runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT, Shell

from local.backends import machine
from local.jobs import Resources

SUBMIT = ROOT / "local/submit.py"
G = 1 << 30


def test_no_more_jobs_run_than_memory_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: range(16))
    monkeypatch.setattr(machine, "memory_bytes", lambda: (32 * G, 10 * G))
    assert len(machine.slots(Resources())) == 16
    assert len(machine.slots(Resources(mem="4G"))) == 2
    assert len(machine.slots(Resources(mem="512M"))) == 16
    assert len(machine.slots(Resources(mem="20G"))) == 1  # what is free now may grow
    assert len(machine.slots(Resources(mem="1G", max_jobs_run=3))) == 3
    assert len(machine.slots(Resources(mem="0"))) == 16
    with pytest.raises(ValueError, match=r"--mem must be <= 32.0G, the memory here, got 33G"):
        machine.slots(Resources(mem="33G"))


def test_memory_is_that_of_the_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {64 << 20} kB\nMemAvailable:   {3 << 20} kB\n")
    limit, none = tmp_path / "memory.max", tmp_path / "none"
    limit.write_text(f"{2 * G}\n")
    none.write_text("max\n")
    assert machine.memory_bytes(meminfo, [str(none), str(limit)]) == (2 * G, 2 * G)
    assert machine.memory_bytes(meminfo, [str(none)])[1] == 3 * G


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mem", "4"], "--mem must be a number with K, M, G or T, got '4'"),
        (["--mem", "9000T"], "--mem must be <= "),
        (["--time", "24"], "--time must be hours:minutes:seconds, got '24'"),
        (["--retries", "-1"], "--retries must be >= 0, got -1"),
        (["--backend", "slrum"], "must be local, slurm or sge, got 'slrum', did you mean 'slurm'?"),
    ],
)
def test_a_mistake_is_named_in_one_line(
    shell: Shell, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = shell(SUBMIT, *arguments, "x.log", "true", cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_only_failed_jobs_are_retried_and_their_logs_are_kept(shell: Shell, tmp_path: Path) -> None:
    code = "echo try >>JOB.tries; (($(wc -l <JOB.tries) > JOB - 1))"
    done = shell(SUBMIT, "--retries", "1", "JOB=1:2", "JOB.log", "bash", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "job 2 of 2 failed (exit status 1)" in done.stderr
    assert "job 2 is run again (1 of 1 times at most); its log is kept: 2.log.1" in done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["1.log", "1.tries", "2.log", "2.log.1", "2.tries"]
    assert (tmp_path / "2.tries").read_text() == "try\ntry\n"


def test_a_dry_run_shows_every_command(shell: Shell, tmp_path: Path) -> None:
    call = ["--dry-run", "--max-jobs-run", "1", "JOB=1:2", "x JOB.log", "echo", "it's JOB"]
    done = shell(SUBMIT, *call, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "# this machine, 1 at once",
        "echo 'it'\"'\"'s 1' > 'x 1.log' 2>&1",
        "echo 'it'\"'\"'s 2' > 'x 2.log' 2>&1",
    ]
    assert list(tmp_path.iterdir()) == []
