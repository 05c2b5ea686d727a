"""What must hold on every kind of cluster, shown on a real one on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.backends import cluster
from local.backends.scheduler import Scheduler
from local.jobs import parse

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
QUICK = cluster.Patience(scheduler_s=(0.5, 2.0), lost_s=4.0)
EAT_MEMORY = "import time; x = []\nwhile True: x.append(bytearray(40 << 20)); time.sleep(0.2)"


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError("the test takes too long")


signal.signal(signal.SIGALRM, _too_long)


@contextmanager
def started(script: str, folder: Path) -> Iterator[None]:
    """A cluster that runs in `folder`, with the variables that its programs need."""
    done = subprocess.run(
        [HERE / script, folder], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    )
    rows = [line.removeprefix("export ").split("=", 1) for line in done.stdout.splitlines()]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rows:
            patch.setenv(name, value)
        try:
            yield
        finally:
            subprocess.run([HERE / "stop.sh", folder], check=True)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_until(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


class ClusterTests:
    """`kind`, `site` and `cancel_task` are those of a scheduler."""

    kind: str
    site: str
    small_time: str  # the shortest limit that the scheduler knows

    def cancel_task(self, job_id: str, task: int) -> None:
        raise NotImplementedError

    @property
    def scheduler(self) -> Scheduler:
        return cluster.SCHEDULERS[self.kind]()

    def is_empty(self, job_id: str) -> bool:
        return not {t.state for t in self.scheduler.tasks(job_id).values()} - {"ended"}

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: None) -> Iterator:
        monkeypatch.chdir(tmp_path)
        Path("site.conf").write_text(self.site)
        signal.alarm(1800 if "recipe" in tmp_path.name else 180)  # a job that waits waits for ever
        yield
        signal.alarm(0)

    def arguments(self, *words: str) -> list[str]:
        return ["--backend", self.kind, "--config", "site.conf", *words]

    def run(self, *words: str) -> int:
        return cluster.run(parse(self.arguments(*words)), QUICK)

    def job_id(self) -> str:
        wait_until(lambda: list(Path.cwd().rglob(".submit/*/job_id")))
        return next(Path.cwd().rglob(".submit/*/job_id")).read_text().strip()

    def test_of_eight_one_fails_one_is_killed_for_memory_and_one_cancelled(self, capsys) -> None:
        code = (
            "import sys, time\nprint('line of JOB', flush=True)\n"
            "if JOB == 3: sys.exit(7)\n"
            f"if JOB == 5:\n    exec({EAT_MEMORY!r})\n"
            "if JOB == 7: time.sleep(100)\n"
        )

        def cancel() -> None:
            log = Path("x.7.log")
            wait_until(lambda: log.exists() and "line of 7" in log.read_text(), 120)
            self.cancel_task(self.job_id(), 7)

        thread = threading.Thread(target=cancel)
        thread.start()
        assert self.run("--mem", "300M", "JOB=1:8", "x.JOB.log", *python(code)) == 3
        thread.join()
        error = capsys.readouterr().err
        assert "job 3 of 8 failed (exit status 7); the end of x.3.log:\nline of 3" in error
        (memory,) = [line for line in error.splitlines() if "job 5 of 8 failed" in line]
        assert "out of memory" in memory
        (gone,) = [line for line in error.splitlines() if "job 7 of 8 failed" in line]
        assert "cancelled" in gone or "assumedly after job" in gone or "SIG" in gone
        for number in (1, 2, 4, 6, 8):
            assert "# Ended (code 0)" in Path(f"x.{number}.log").read_text()
        assert self.is_empty(self.job_id())

    def test_a_task_cancelled_before_it_began_has_failed(self, capsys) -> None:
        def cancel() -> None:
            self.cancel_task(self.job_id(), 3)

        thread = threading.Thread(target=cancel)
        thread.start()
        assert self.run("--max-jobs-run", "1", "JOB=1:3", "JOB.log", "sleep", "3") == 1
        thread.join()
        error = capsys.readouterr().err
        assert "job 3 of 3 failed (" in error
        assert "it left no log (3.log)" in error

    def test_arguments_reach_the_command_as_they_are(self) -> None:
        hard = [string.punctuation, *string.punctuation, "a b", "it's", "two\nlines", "\t", "", "é"]
        hard += ["$(id)", "`id`", "${HOME}", "!!", "\\n", "--gpu", "~", "{a,b}", "a=b", "%a", "$0"]
        code = "import sys; print(ascii(sys.argv[1:]))"
        assert self.run("JOB=1:1", "log of/it's $x %a.JOB.log", *python(code), *hard) == 0
        assert f"\n{ascii(hard)}\n" in Path("log of/it's $x %a.1.log").read_text()

    def test_only_failed_tasks_are_retried(self, capsys) -> None:
        code = (
            "import pathlib, sys; p = pathlib.Path('tries.JOB'); n = p.exists(); p.touch();"
            "print('second' if n else 'first'); sys.exit(JOB != 1 and not n)"
        )
        assert self.run("--retries", "1", "JOB=1:3", "JOB.log", *python(code)) == 0
        assert "\nfirst\n" in Path("1.log").read_text()
        assert "\nfirst\n" in Path("3.log.1").read_text()
        assert "\nsecond\n" in Path("3.log").read_text()

    def test_a_job_over_its_time_is_called_so(self, capsys) -> None:
        call = ["--time", self.small_time, "x.log", "bash", "-c", "echo begun; sleep 300"]
        assert self.run(*call) == 1
        error = capsys.readouterr().err
        assert f"time-out: it asked for {self.small_time}" in error
        assert "begun" in error

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ending_the_submitter_cancels_its_tasks(self, number: signal.Signals) -> None:
        code = "import os, time; print('result:', os.getpid(), flush=True); time.sleep(300)"
        command = [ROOT / "local/submit.py", *self.arguments("JOB=1:6", "JOB.log", *python(code))]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            job_id = process.stderr.readline().split()[3].rstrip(":")
            pid = int(process.stderr.readline())
            assert not self.is_empty(job_id)
            process.send_signal(number)
            assert process.wait(30) == 128 + number
        wait_until(lambda: self.is_empty(job_id))
        wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def test_gpus_that_are_not_there_are_refused_at_once(self) -> None:
        with pytest.raises(ValueError, match="refused the job: .*(gres|gpu)"):
            self.run("--gpu", "1", "x.log", "true")

    def test_threads_and_memory_are_asked_for(self) -> None:
        code = "import os; print('threads', os.environ['OMP_NUM_THREADS'])"
        assert self.run("--num-threads", "2", "--mem", "1G", "x.log", *python(code)) == 0
        assert "threads 2" in Path("x.log").read_text()

    def test_setup_lines_that_fail_are_the_jobs_failure(self, capsys) -> None:
        Path("site.conf").write_text(f"{self.site}setup exit_of_no_program\n")
        assert self.run("x.log", "true") == 1
        assert "setup failed: exit_of_no_program" in capsys.readouterr().err

    def test_the_recipe_ends_in_a_table(self, tmp_path: Path) -> None:
        recipe = tmp_path / "recipe"
        shutil.copytree(ROOT, recipe, ignore=shutil.ignore_patterns(".git", ".venv", "exp", "data"))
        # What the test's machine has not got is not asked for.
        Path("site.conf").write_text(
            "".join(f"option {name}=*\n" for name in ("mem", "time", "num_threads"))
            + self.site.splitlines()[0]
        )
        environment = {
            **os.environ,
            "XLSR_PYTHON": sys.executable,
            "cmd_backend": self.kind,
            "cmd_config": str(tmp_path / "site.conf"),
        }
        call = [recipe / "run.sh", "--debug", *os.environ.get("RECIPE_OPTIONS", "").split()]
        subprocess.run(call, env=environment, check=True)
        assert list((recipe / "exp").rglob(".submit/*/job_id"))
