"""The job runner: Kaldi's calling convention on the local machine."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Shell

from local.jobs import parse

SUBMIT = ROOT / "local/submit.py"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_each_job_gets_its_number_in_log_and_command(shell: Shell, tmp_path: Path) -> None:
    code = "import sys; print('number', sys.argv[1])"
    done = shell(SUBMIT, "JOB=2:4", tmp_path / "log/x.JOB.log", *python(code), "JOB/4")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "log").iterdir()) == [
        "x.2.log",
        "x.3.log",
        "x.4.log",
    ]
    assert "\nnumber 3/4\n" in (tmp_path / "log/x.3.log").read_text()


def test_log_has_the_command_the_host_and_kaldis_last_line(shell: Shell, tmp_path: Path) -> None:
    shell(SUBMIT, tmp_path / "x.log", "echo", "two words")
    first, started, host, _, output, last = (tmp_path / "x.log").read_text().splitlines()
    assert first == "# echo 'two words'"
    assert started.startswith("# Started at ")
    assert host == f"# Running on {os.uname().nodename}"
    assert output == "two words"
    assert last.startswith("# Ended (code 0) at ")
    assert last.endswith("elapsed time 0 seconds")


def test_arguments_reach_the_command_as_they_are(shell: Shell, tmp_path: Path) -> None:
    words = ["a b", "it's", '"q"', "$HOME", "*", "", "--gpu", "é\\n"]
    code = "import sys; print(repr(sys.argv[1:]))"
    done = shell(SUBMIT, tmp_path / "x.log", *python(code), *words)
    assert done.returncode == 0
    assert f"\n{words!r}\n" in (tmp_path / "x.log").read_text()


def test_one_failed_job_of_three_is_named_and_the_others_finish(
    shell: Shell, tmp_path: Path
) -> None:
    code = "import sys; print('line of JOB'); sys.exit(7 if JOB == 2 else 0)"
    done = shell(SUBMIT, "JOB=1:3", tmp_path / "x.JOB.log", *python(code))
    assert done.returncode == 1
    assert "job 2 of 3 failed (exit status 7)" in done.stderr
    assert str(tmp_path / "x.2.log") in done.stderr
    assert "line of 2" in done.stderr
    assert "line of 1" not in done.stderr
    assert "Ended (code 0)" in (tmp_path / "x.3.log").read_text()


def test_a_one_line_error_stays_one_line(shell: Shell, tmp_path: Path) -> None:
    code = "import sys; print('starting'); sys.exit('train: error: epochs must be >= 1, got 0')"
    done = shell(SUBMIT, tmp_path / "x.log", *python(code))
    assert done.returncode == 1
    expected = f"train: error: epochs must be >= 1, got 0 (log: {tmp_path / 'x.log'})\n"
    assert done.stderr == expected


def test_a_job_killed_by_the_system_says_so(shell: Shell, tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = shell(SUBMIT, tmp_path / "x.log", *python(code))
    assert done.returncode == 1
    assert "killed by SIGKILL, often the system's answer to memory running out" in done.stderr


def test_a_command_that_does_not_exist_fails(shell: Shell, tmp_path: Path) -> None:
    done = shell(SUBMIT, tmp_path / "x.log", "/no/such/program")
    assert done.returncode == 1
    assert "/no/such/program: No such file or directory" in done.stderr
    assert "Ended (code 127)" in (tmp_path / "x.log").read_text()


def test_progress_and_results_are_shown_and_the_rest_stays_in_the_log(
    shell: Shell, tmp_path: Path
) -> None:
    code = "print('progress: 1/2'); print('noise'); print('result: WER 9 %')"
    done = shell(SUBMIT, tmp_path / "x.log", *python(code))
    assert done.stderr.splitlines() == ["1/2", "WER 9 %"]
    assert done.stdout == ""


def test_progress_is_shown_while_the_job_runs(tmp_path: Path) -> None:
    code = "import time; print('progress: now', flush=True); time.sleep(60)"
    command = [SUBMIT, tmp_path / "x.log", *python(code)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "now\n"
        assert process.poll() is None
        process.terminate()


def test_threads_and_array_limit_are_honoured(shell: Shell, tmp_path: Path) -> None:
    # Every job notes when it began and ended: at most one at a time may be running.
    code = (
        "import os, time; s = time.time(); time.sleep(0.3);"
        "print('span', s, time.time(), os.environ['OMP_NUM_THREADS'])"
    )
    options = ["--max-jobs-run", "1", "--num-threads", "3", "--mem", "4G", "--time", "1:00:00"]
    done = shell(SUBMIT, *options, "JOB=1:3", tmp_path / "JOB.log", *python(code))
    assert done.returncode == 0, done.stderr
    spans = []
    for log in tmp_path.glob("*.log"):
        line = next(x for x in log.read_text().splitlines() if x.startswith("span"))
        begin, end, threads = line.split()[1:]
        assert threads == "3"
        spans.append((float(begin), float(end)))
    spans.sort()
    assert all(after[0] >= before[1] for before, after in itertools.pairwise(spans))


def test_gpus_are_shared_out_and_one_too_many_is_refused(shell: Shell, tmp_path: Path) -> None:
    code = "import os; print('gpus', os.environ['CUDA_VISIBLE_DEVICES'])"
    env = {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    call = [SUBMIT, "--gpu", "2", "JOB=1:2", tmp_path / "JOB.log", *python(code)]
    assert shell(*call, env=env).returncode == 0
    logs = [(tmp_path / f"{n}.log").read_text() for n in (1, 2)]
    assert ["gpus 0,1" in logs[0], "gpus 2,3" in logs[1]] == [True, True]
    done = shell(*call, env={"CUDA_VISIBLE_DEVICES": "0"})
    assert done.returncode == 1
    assert done.stderr == "submit.py: error: --gpu must be <= 1, the GPUs here, got 2\n"


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and only waits to be collected does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_runner_ends_its_jobs_and_what_they_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import subprocess, time, os;"
        "child = subprocess.Popen(['sleep', '60']);"
        "print(f'result: {os.getpid()} {child.pid}', flush=True); time.sleep(60)"
    )
    command = [SUBMIT, tmp_path / "x.log", *python(code)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        pids = [int(word) for word in process.stderr.readline().split()]
        assert all(map(alive, pids))
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    assert f"# Ended (code -{signal.SIGTERM.value})" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "1", "x.log", "true"], "unknown option '--gpus', did you mean '--gpu'?"),
        (["--gpu", "one", "x.log", "true"], "--gpu must be a whole number, got 'one'"),
        (["--gpu", "-1", "x.log", "true"], "--gpu must be >= 0, got -1"),
        (["--num-threads", "0", "x.log", "true"], "--num-threads must be >= 1, got 0"),
        (["--mem"], "--mem needs a value"),
        (["JOB=3:1", "JOB.log", "true"], "JOB=3:1: the range must be 1 <= first <= last"),
        (["JOB=1:2", "x.log", "true"], "the log must hold JOB"),
        (["x.log"], "needs a log file and a command"),
        ([], "needs a log file and a command"),
    ],
)
def test_a_mistake_is_named_in_one_line(
    shell: Shell, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = shell(SUBMIT, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_options_and_range_may_come_in_any_order() -> None:
    one = parse(["--mem", "4G", "JOB=1:2", "--gpu", "1", "l.JOB", "true"])
    other = parse(["JOB=1:2", "--gpu", "1", "--mem", "4G", "l.JOB", "true"])
    assert one == other
    assert one.resources.mem == "4G"
    assert [str(job.log) for job in one.jobs] == ["l.1", "l.2"]
