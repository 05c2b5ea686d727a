"""A real GridEngine on this machine: `make test-cluster`."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import ClusterTests, started


@pytest.fixture(scope="module")
def real() -> Iterator[None]:
    # Not one of pytest's folders: GridEngine's own user has to get there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with started("start_sge.sh", Path(folder)):
            yield


class TestGridEngine(ClusterTests):
    kind = "sge"
    site = (
        "command qsub -V\noption mem=* -l h_vmem=$0\noption time=* -l h_rt=$0\n"
        "option num_threads=* -pe smp $0\noption gpu=* -l gpu=$0\n"
    )
    small_time = "0:00:08"

    def cancel_task(self, job_id: str, task: int) -> None:
        subprocess.run(["qdel", job_id, "-t", str(task)], check=True)

    def test_a_task_in_error_state_is_found(self, capsys) -> None:
        Path("site.conf").write_text(f"{self.site}setup exit 100\n")
        assert self.run("x.log", "true") == 1
        error = capsys.readouterr().err
        assert "GridEngine would never have run it (Eqw: " in error
        assert "exit_status of job start = 100" in error
        assert self.is_empty(self.job_id())

    def test_a_job_for_which_there_is_no_queue_is_not_left_behind(self) -> None:
        Path("site.conf").write_text("command qsub -q no.such.queue\n")
        with pytest.raises(ValueError, match="qsub refused the job: "):
            self.run("x.log", "true")
        left = subprocess.run(["qstat"], capture_output=True, text=True, check=True)
        assert left.stdout == ""

    @pytest.mark.parametrize("status", [99, 100])
    def test_a_status_is_no_request_to_the_scheduler(self, capsys, status: int) -> None:
        assert self.run("x.log", "bash", "-c", f"echo once >>count; exit {status}") == 1
        assert f"the job failed (exit status {status}" in capsys.readouterr().err
        assert Path("count").read_text() == "once\n"
