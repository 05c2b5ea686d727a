"""A real Slurm on this machine: `make test-cluster`."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import ClusterTests, started, wait_until


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not one of pytest's folders: the user of munge has to get there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def real(folder: Path) -> Iterator[None]:
    with started("start_slurm.sh", folder):
        yield


class TestSlurm(ClusterTests):
    kind = "slurm"
    site = (
        "command sbatch --export=ALL\noption mem=* --mem $0\noption time=* --time $0\n"
        "option num_threads=* --cpus-per-task $0\noption gpu=* --gres gpu:$0\n"
    )
    small_time = "0:01:00"

    def cancel_task(self, job_id: str, task: int) -> None:
        subprocess.run(["scancel", f"{job_id}_{task}"], check=True)

    def test_a_dependency_that_never_comes_true_is_found(self, capsys) -> None:
        Path("site.conf").write_text("command sbatch --hold\n")
        blocker = subprocess.run(
            ["sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "false"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        Path("site.conf").write_text(f"command sbatch --dependency=afterok:{blocker}\n")
        thread = threading.Timer(1.0, subprocess.run, [["scancel", blocker]])
        thread.start()
        assert self.run("x.log", "true") == 1
        thread.join()
        assert "the job failed (cancelled" in capsys.readouterr().err

    def test_a_node_that_has_gone_loses_its_task(self, folder: Path, capsys) -> None:
        Path("site.conf").write_text("command sbatch --no-requeue\n")

        def lose() -> None:
            wait_until(lambda: Path("x.log").exists() and "pid" in Path("x.log").read_text())
            daemon = int((folder / "slurmd.pid").read_text())
            os.kill(daemon, signal.SIGKILL)
            line = next(x for x in Path("x.log").read_text().splitlines() if x.startswith("pid"))
            os.kill(int(line.split()[2]), signal.SIGKILL)  # the script
            os.kill(int(line.split()[1]), signal.SIGKILL)

        thread = threading.Thread(target=lose)
        thread.start()
        try:
            call = ["x.log", "bash", "-c", "echo pid $$ $PPID; exec sleep 300"]
            assert self.run(*call) == 1
        finally:
            thread.join()
            node = subprocess.Popen(["slurmd", "-D"], start_new_session=True)
            (folder / "slurmd.pid").write_text(f"{node.pid}\n")
        assert "it left no exit status" in capsys.readouterr().err
