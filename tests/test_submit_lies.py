"""What Slurm and GridEngine say of tasks that did not succeed, each as it was seen on real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_cluster import NOTHING_QUEUED, QUICK, ToyCluster, qstat_running, qstat_waiting

from local.backends import cluster, sge
from local.jobs import parse


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyCluster:
    monkeypatch.chdir(tmp_path)
    return ToyCluster("slurm", tmp_path / "toy", monkeypatch)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToyCluster:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sge, "ACCOUNT_S", 0.0)
    made = ToyCluster("sge", tmp_path / "toy", monkeypatch)
    made.says(queue=NOTHING_QUEUED)
    return made


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("2|CANCELLED|None", "cancelled, it left no exit status"),
        ("2|TIMEOUT|TimeLimit", "time-out: it asked for 1:00:00, it left no exit status"),
        ("2|OUT_OF_MEMORY|OutOfMemory", "out of memory: it asked for 4G, it left no"),
        ("2|NODE_FAIL|NodeDown", "its node failed, it left no exit status"),
        ("2|COMPLETED|None", "lost, it left no exit status"),
        ("2|FAILED|JobLaunchFailure", "Slurm says FAILED (JobLaunchFailure), it left no"),
        ("2|PENDING|launch failed requeued held", "never have run it (launch failed requeued held"),
        ("2|PENDING|DependencyNeverSatisfied", "never have run it (DependencyNeverSatisfied)"),
        ("2|REQUEUE_HOLD|None", "Slurm would never have run it (None)"),
    ],
)
def test_slurm_a_task_that_never_ran_is_a_failure_by_name(slurm, capsys, line, how) -> None:
    slurm.says(skip="2\n", queue=f"1|COMPLETED|None\n{line}\n")
    assert slurm.run("--mem", "4G", "--time", "1:00:00", "JOB=1:2", "JOB.log", "true") == 1
    error = capsys.readouterr().err
    assert f"job 2 of 2 failed ({how}" in error or how in error.splitlines()[-1]
    assert slurm.calls("scancel") == [["7"]]


def test_slurm_a_purged_record_is_no_success(slurm, capsys) -> None:
    slurm.says(skip="1\n", deaf="slurm_load_jobs error: Invalid job id specified\n")
    assert slurm.run("x.log", "true") == 1
    assert "lost, it left no exit status" in capsys.readouterr().err


def test_slurm_accounting_is_asked_where_there_is_one(slurm, capsys) -> None:
    (slurm.folder / "bin/sacct").write_text("#!/bin/bash\necho 'CANCELLED by 1000'\n")
    slurm.says(skip="1\n")
    assert slurm.run("x.log", "true") == 1
    assert "the job failed (cancelled, it left no exit status)" in capsys.readouterr().err


def test_slurm_a_job_killed_for_memory_is_called_so_whatever_its_state(slurm, capsys) -> None:
    slurm.says(queue="1|FAILED|JobLaunchFailure\n")
    said = "slurmstepd: error: StepId=7.batch exceeded memory limit (9 > 1), being killed"
    program = slurm.folder / "bin/sbatch"
    text = program.read_text().replace('bash "$script" >', f"echo '{said}' >")
    program.write_text(text)
    assert slurm.run("--mem", "1G", "x.log", "true") == 1
    error = capsys.readouterr().err
    assert "(out of memory: it asked for 1G, it left no exit status)" in error
    assert f"what the scheduler wrote besides:\n{said}" in error


def test_slurm_a_requeued_task_is_not_lost(slurm, tmp_path, monkeypatch) -> None:
    # Its node fails (it is ended), it waits again, and then it runs.
    answers = iter(["NODE_FAIL|x", "PENDING|BeginTime", "PENDING|BeginTime", "RUNNING|None"])
    real = cluster.SCHEDULERS["slurm"].tasks
    slow = cluster.Patience(**{**vars(QUICK), "lost_s": 0.2, "scheduler_s": (0.1, 0.1)})

    def tasks(self, job_id):
        answer = next(answers, None)
        if answer is None:
            (folder,) = tmp_path.glob(".submit/*")
            (folder / "1.status").write_text("0\n")
            answer = "COMPLETED|None"
        slurm.says(queue=f"1|{answer}\n")
        return real(self, job_id)

    monkeypatch.setattr(cluster.SCHEDULERS["slurm"], "tasks", tasks)
    slurm.says(skip="1\n")
    assert cluster.run(parse(slurm.arguments("x.log", "true")), slow) == 0


def test_slurm_why_a_job_waits_is_said_once(slurm, tmp_path, capsys, monkeypatch) -> None:
    slurm.says(skip="1\n", queue="1|PENDING|Priority\n")
    calls = []
    real = cluster.SCHEDULERS["slurm"].tasks

    def tasks(self, job_id):
        calls.append(job_id)
        if len(calls) == 4:
            slurm.says(queue="1|CANCELLED|None\n")
        return real(self, job_id)

    monkeypatch.setattr(cluster.SCHEDULERS["slurm"], "tasks", tasks)
    assert slurm.run("x.log", "true") == 1
    assert capsys.readouterr().err.count("slurm job 7: 1 waiting (Priority)\n") == 1


def test_sge_a_task_in_error_state_is_found_with_its_reason(engine, capsys) -> None:
    engine.says(skip="2\n", queue=qstat_waiting(2, "Eqw"))
    qstat = engine.folder / "bin/qstat"
    reason = "error reason          2:      cannot open output"
    qstat.write_text(f"{qstat.read_text()}[[ $1 != -j ]] || printf '\\n%s\\n' '{reason}'\n")
    assert engine.run("JOB=1:2", "JOB.log", "true") == 1
    error = capsys.readouterr().err
    assert "GridEngine would never have run it (Eqw: cannot open output)" in error
    assert engine.calls("qdel") == [["7"]]


@pytest.mark.parametrize("status", [99, 100, 255])
def test_sge_no_status_is_a_request_to_the_scheduler(engine, tmp_path, status) -> None:
    qsub = engine.folder / "bin/qsub"
    qsub.write_text(qsub.read_text().replace('.out" 2>&1', '.out" 2>&1; echo $? >$toy/ended'))
    assert engine.run("x.log", "bash", "-c", f"exit {status}") == 1
    assert (engine.folder / "ended").read_text() == "1\n"


def test_sge_unable_to_run_and_submitted_at_once_is_taken_back(engine) -> None:
    engine.says(
        refusal="Unable to run job: warning: root's job is not allowed to run in any queue\n"
        'Your job-array 12.1-1:1 ("x") has been submitted\nExiting.\n'
    )
    with pytest.raises(ValueError, match="qsub refused the job: Unable to run job: warning"):
        engine.run("x.log", "true")
    assert engine.calls("qdel") == [["12"]]


@pytest.mark.parametrize(
    ("record", "how"),
    [
        ("failed 37 : qmaster enforced limit\nru_wallclock 3611s\nmaxvmem 1.0GB", "time-out: it"),
        (
            "failed 37 : qmaster enforced limit\nru_wallclock 9s\nmaxvmem 5.0GB",
            "over its memory or time: 5.0GB in 9 s (qmaster enforced limit)",
        ),
        ("failed 100 : assumedly after job\nru_wallclock 9s", "GridEngine says: assumedly after"),
    ],
)
def test_sge_accounting_names_the_limit(engine, capsys, record, how) -> None:
    engine.says(skip="1\n")
    (engine.folder / "account/1").write_text(f"====\n{record}\n")
    assert engine.run("--time", "1:00:00", "x.log", "true") == 1
    assert f"the job failed ({how}" in capsys.readouterr().err


def test_sge_a_node_that_has_gone_silent_loses_its_tasks(engine, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sge, "NODE_LOST_S", 0.2)
    engine.says(skip="1\n", queue=qstat_running(1, "r", queue_state="au"))
    assert engine.run("x.log", "true") == 1
    assert "all.q@n1 has been silent for 0 s" in capsys.readouterr().err


def test_sge_garbage_is_no_answer(engine, capsys) -> None:
    engine.says(skip="1\n", queue="<job_info>")
    assert engine.run("x.log", "true") == 1
    assert "the scheduler has not answered for" in capsys.readouterr().err


def test_sge_takes_no_folder_that_it_would_misread(engine, tmp_path) -> None:
    with pytest.raises(ValueError, match="GridEngine takes no folder with : , or"):
        engine.run("a:b/x.log", "true")
    assert not (tmp_path / "a:b").exists()
