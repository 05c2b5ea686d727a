"""Clusters: every task is accounted for, whatever the scheduler says (fakes of both)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from toy_cluster import NOTHING_QUEUED, ToyCluster

EXIT_JOB = [sys.executable, "-c", "import sys; print('line of JOB'); sys.exit(JOB % 100)"]


@pytest.fixture(params=["slurm", "sge"])
def toy(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyCluster:
    made = ToyCluster(request.param, tmp_path / "toy", monkeypatch)
    if request.param == "sge":
        made.says(queue=NOTHING_QUEUED)
    monkeypatch.chdir(tmp_path)
    return made


def cancelled(toy: ToyCluster) -> list[list[str]]:
    return toy.calls("scancel" if toy.kind == "slurm" else "qdel")


def submitted(toy: ToyCluster) -> list[list[str]]:
    return toy.calls("sbatch" if toy.kind == "slurm" else "qsub")


def test_an_array_that_succeeds_is_cancelled_by_nobody(toy: ToyCluster, tmp_path: Path) -> None:
    assert toy.run("JOB=1:3", "log/x.JOB.log", "echo", "number JOB") == 0
    head, started, host, _, output, last = (tmp_path / "log/x.3.log").read_text().splitlines()
    assert head == "# echo number\\ 3"
    assert started.startswith("# Started at ")
    assert host == f"# Running on {os.uname().nodename}"
    assert output == "number 3"
    assert last.startswith("# Ended (code 0) at ")
    assert cancelled(toy) == []


def test_one_failed_task_is_named_and_the_others_count(toy: ToyCluster, capsys) -> None:
    assert toy.run("JOB=199:201", "x.JOB.log", *EXIT_JOB) == 2
    error = capsys.readouterr().err
    assert "job 199 of 3 failed (exit status 99); the end of x.199.log:\nline of 199" in error
    assert "job 201 of 3 failed (exit status 1)" in error
    assert "line of 200" not in error


def test_a_one_line_error_stays_one_line(toy: ToyCluster, capsys) -> None:
    code = "import sys; print('starting'); sys.exit('train: error: epochs must be >= 1, got 0')"
    assert toy.run("x.log", sys.executable, "-c", code) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "train: error: epochs must be >= 1, got 0 (log: x.log)"


def test_a_task_that_is_nowhere_has_failed(toy: ToyCluster, capsys) -> None:
    toy.says(skip="2\n")
    assert toy.run("JOB=1:3", "x.JOB.log", "true") == 1
    error = capsys.readouterr().err
    assert "job 2 of 3 failed (lost, it left no exit status); it left no log (x.2.log)" in error
    assert len(cancelled(toy)) == 1  # it may still be somewhere


def test_a_status_file_without_a_number_is_no_success(toy: ToyCluster, capsys) -> None:
    # mv, as a file system that loses what was written
    mv = toy.folder / "bin/mv"
    mv.write_text('#!/bin/bash\n: >"${@: -1}"\n')
    mv.chmod(0o755)
    assert toy.run("x.log", "true") == 1
    assert "it left no exit status" in capsys.readouterr().err


def test_a_late_status_file_is_waited_for(toy: ToyCluster, tmp_path: Path) -> None:
    toy.says(skip="1\n")

    def arrive() -> None:
        while not (found := list(tmp_path.glob(".submit/*/job_id"))):
            time.sleep(0.01)
        time.sleep(0.1)  # the scheduler has long said that the task is gone
        found[0].with_name("1.status").write_text("0\n")

    thread = threading.Thread(target=arrive)
    thread.start()
    assert toy.run("x.log", "true") == 0
    thread.join()


def test_a_scheduler_that_does_not_answer_is_not_one_that_lost_the_task(
    toy: ToyCluster, tmp_path: Path, capsys
) -> None:
    toy.says(skip="1\n", deaf="cannot contact the controller\n")
    assert toy.run("x.log", "true") == 1
    error = capsys.readouterr().err
    assert "no answer from the scheduler for 0 s: " in error
    assert "the job failed (the scheduler has not answered for" in error
    assert "cannot contact the controller" in error


def test_a_failure_is_believed_even_from_a_cluster_that_is_deaf(toy: ToyCluster, capsys) -> None:
    toy.says(deaf="cannot contact the controller\n")
    assert toy.run("x.log", "bash", "-c", "kill -9 $$") == 1
    assert "(exit status 137, killed by SIGKILL, often the system" in capsys.readouterr().err


def test_a_job_that_ran_out_of_memory_by_its_own_word_is_called_so(toy: ToyCluster, capsys) -> None:
    assert toy.run("x.log", sys.executable, "-c", "raise MemoryError") == 1
    assert "the job failed (exit status 1, out of memory)" in capsys.readouterr().err


def test_only_failed_tasks_are_retried_and_their_logs_are_kept(
    toy: ToyCluster, tmp_path: Path, capsys
) -> None:
    code = (
        "import pathlib, sys; p = pathlib.Path('tries.JOB'); n = p.exists(); p.touch();"
        "print('second' if n else 'first'); sys.exit(JOB != 1 and not n)"
    )
    assert toy.run("--retries", "2", "JOB=1:3", "JOB.log", sys.executable, "-c", code) == 0
    first, second = submitted(toy)
    assert ("--array=1-3" in first) or ("1-3" in first)
    assert ("--array=1-2" in second) or ("1-2" in second)
    assert "\nfirst\n" in (tmp_path / "1.log").read_text()
    assert "\nsecond\n" in (tmp_path / "3.log").read_text()
    assert "\nfirst\n" in (tmp_path / "3.log.1").read_text()
    assert "job 3 is run again (1 of 2 times at most)" in capsys.readouterr().err


def test_retries_come_to_an_end(toy: ToyCluster, tmp_path: Path) -> None:
    assert toy.run("--retries", "2", "x.log", "false") == 1
    assert len(submitted(toy)) == 3
    assert sorted(p.name for p in tmp_path.glob("x.log*")) == ["x.log", "x.log.1", "x.log.2"]


def test_progress_and_results_are_shown(toy: ToyCluster, capsys) -> None:
    code = "print('progress: 1/2'); print('noise'); print('result: WER 9 %')"
    assert toy.run("x.log", sys.executable, "-c", code) == 0
    assert capsys.readouterr().err.splitlines()[1:] == ["1/2", "WER 9 %"]


def test_a_dry_run_shows_command_and_script_and_makes_nothing(
    toy: ToyCluster, tmp_path: Path, capsys
) -> None:
    assert toy.run("--dry-run", "--mem", "4G", "JOB=1:3", "log/x.JOB.log", "echo", "it's JOB") == 0
    shown = capsys.readouterr().out
    assert {"slurm": "--mem 4G", "sge": "-l mem_free=4G"}[toy.kind] in shown
    script = shown.partition("#!/bin/bash")[2]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    assert not (toy.folder / "calls").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ending_the_submitter_cancels_the_job(
    toy: ToyCluster, tmp_path: Path, number: signal.Signals
) -> None:
    toy.says(skip="1\n")
    command = [ROOT / "local/submit.py", *toy.arguments("x.log", "touch", "ran")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"submit.py: {toy.kind} job 7: x.log\n"
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr.read() == ""
    assert cancelled(toy) == [["7"]]
    # A task that starts nevertheless does nothing.
    (script,) = tmp_path.glob(".submit/*/script.sh")
    variables = {"SLURM_ARRAY_TASK_ID": "1", "SGE_TASK_ID": "1"}
    assert subprocess.run(["bash", script], env=os.environ | variables, check=False).returncode
    assert not (tmp_path / "ran").exists()


def test_a_signal_while_submitting_still_cancels(toy: ToyCluster, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    slow = f"touch {ready}; sleep 1\n"
    for name in ("sbatch", "qsub"):
        program = toy.folder / "bin" / name
        program.write_text(program.read_text().replace("for word", f"{slow}for word", 1))
    toy.says(skip="1\n")
    command = [ROOT / "local/submit.py", *toy.arguments("x.log", "true")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not ready.exists():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert cancelled(toy) == [["7"]]


def test_the_job_of_a_submitter_that_was_killed_is_not_run_twice(toy: ToyCluster, capsys) -> None:
    toy.says(skip="1\n")
    toy.run("x.log", "true")
    (folder,) = Path.cwd().glob(".submit/*")
    (folder / "given_up").unlink()  # as after SIGKILL
    running = {
        "slurm": "1|RUNNING|None\n",
        "sge": "<job_info><queue_info/><job_info><job_list><JB_job_number>7</JB_job_number>"
        "<state>r</state><tasks>1</tasks></job_list></job_info></job_info>",
    }
    toy.says(skip="", queue=running[toy.kind])
    with pytest.raises(ValueError, match="job 7 of an earlier call still works on x.log"):
        toy.run("x.log", "true")
    toy.says(queue="" if toy.kind == "slurm" else NOTHING_QUEUED)
    assert toy.run("x.log", "true") == 0


def test_a_refused_job_is_an_error_of_one_line(toy: ToyCluster, shell, tmp_path) -> None:
    toy.says(refusal="error: Invalid\n generic resource\n")
    done = shell(ROOT / "local/submit.py", *toy.arguments("x.log", "true"), cwd=tmp_path)
    program = {"slurm": "sbatch", "sge": "qsub"}[toy.kind]
    message = f"{program} refused the job: error: Invalid; generic resource"
    assert (done.returncode, done.stderr) == (1, f"submit.py: error: {message}\n")


def test_a_missing_scheduler_is_an_error_of_one_line(toy: ToyCluster, shell, tmp_path) -> None:
    toy.config.write_text("command no-such-sbatch\n")
    done = shell(ROOT / "local/submit.py", *toy.arguments("x.log", "true"), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "submit.py: error: no-such-sbatch: No such file or directory\n"


def test_setup_lines_come_before_the_command_and_their_failure_is_the_jobs(
    toy: ToyCluster, tmp_path: Path, capsys
) -> None:
    toy.config.write_text(toy.config.read_text() + "setup export WHERE='it is # here'\n")
    assert toy.run("x.log", "bash", "-c", "echo at $WHERE") == 0
    assert "\nat it is # here\n" in (tmp_path / "x.log").read_text()
    toy.config.write_text(toy.config.read_text() + "setup module_of_no_site load cuda\n")
    assert toy.run("x.log", "touch", "ran") == 1
    assert "setup failed: module_of_no_site load cuda" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_limit_of_the_array_reaches_the_scheduler(toy: ToyCluster) -> None:
    toy.run("--max-jobs-run", "2", "JOB=1:3", "JOB.log", "true")
    (call,) = submitted(toy)
    assert ("--array=1-3%2" in call) or ("-tc" in call and call[call.index("-tc") + 1] == "2")
