"""Slurm: sbatch, squeue, scancel; sacct where there is accounting."""

from __future__ import annotations

import re

from local.backends.scheduler import NoAnswer, Task, call, one_line
from local.backends.script import Submission
from local.backends.site import Site
from local.jobs import Resources

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED"}
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
_STUCK_STATES = {"REQUEUE_HOLD", "SPECIAL_EXIT"}
# Reasons for waiting that do not go away by themselves.
_STUCK_REASONS = re.compile(
    r"DependencyNeverSatisfied|launch failed requeued held|requeued in held state|BadConstraints"
    r"|InvalidAccount|InvalidQOS|JobHeldAdmin",
    re.IGNORECASE,
)
_ENDS = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "time-out",
    "DEADLINE": "time-out (deadline)",
    "CANCELLED": "cancelled",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "preempted",
}


class Slurm:
    """See `local.backends.scheduler.Scheduler`."""

    name = "slurm"
    program = "sbatch"
    default_config = "conf/slurm.conf"
    task_variable = "SLURM_ARRAY_TASK_ID"

    def command(self, site: Site, submission: Submission, resources: Resources) -> list[str]:
        limit = f"%{resources.max_jobs_run}" if resources.max_jobs_run else ""
        folder = str(submission.folder).replace("%", "%%")
        if "\\" in folder:  # sbatch would read the name as it is, %a too
            raise ValueError(f"{folder}: Slurm cannot write to a folder with \\ in its name")
        return [
            *site.command,
            *site.flags_for(resources),
            "--parsable",
            f"--array=1-{len(submission.jobs)}{limit}",
            f"--job-name={submission.jobs[0].log.name}",
            f"--output={folder}/%a.out",
            f"--error={folder}/%a.out",
            "--open-mode=append",
            str(submission.script),
        ]

    def submit(self, command: list[str]) -> str:
        done = call(command)
        match = re.fullmatch(r"(\d+)(;\S*)?", done.stdout.strip().rpartition("\n")[2])
        if done.returncode != 0 or match is None:
            said = one_line(done.stderr or done.stdout) or f"exit status {done.returncode}"
            raise ValueError(f"{command[0]} refused the job: {said}")
        return match[1]

    def tasks(self, job_id: str) -> dict[int, Task]:
        done = call(
            ["squeue", "--noheader", "--array", "--states=all", f"--jobs={job_id}"]
            + ["--format=%K|%T|%r"]
        )
        if done.returncode != 0:
            if "Invalid job id" in done.stderr:
                return {}  # the record is gone
            raise NoAnswer(f"squeue: {one_line(done.stderr)}")
        found = {}
        for line in done.stdout.splitlines():
            number, word, reason = line.strip().split("|", 2)
            if number.isdigit():
                found[int(number)] = _task(word, reason)
        return found

    def cancel(self, job_id: str) -> str:
        done = call(["scancel", job_id])
        return "" if done.returncode == 0 else one_line(done.stderr)

    def explain(
        self, job_id: str, task: int, seen: Task | None, output: str, resources: Resources
    ) -> str:
        # What slurmstepd writes is more telling than the state: a job over its memory may be
        # called FAILED (JobLaunchFailure).
        if re.search(r"memory limit|oom[-_ ]kill", output, re.IGNORECASE):
            return _limit("out of memory", resources.mem)
        if "DUE TO TIME LIMIT" in output:
            return _limit("time-out", resources.time)
        if seen is not None and seen.state == "stuck":
            return f"Slurm would never have run it ({seen.reason or seen.word})"
        word, reason = (seen.word, seen.reason) if seen else (_accounted(job_id, task), "")
        if word == "OUT_OF_MEMORY":
            return _limit("out of memory", resources.mem)
        if word == "TIMEOUT":
            return _limit("time-out", resources.time)
        if "DUE TO NODE FAILURE" in output:
            return _ENDS["NODE_FAIL"]
        if word in _ENDS:
            return _ENDS[word]
        # Of an exit status that is not 0 there is no more to say.
        return "" if reason in ("", "None", "NonZeroExitCode") else f"Slurm says {word} ({reason})"


def _task(word: str, reason: str) -> Task:
    if word in _STUCK_STATES or (word == "PENDING" and _STUCK_REASONS.search(reason)):
        return Task("stuck", word, reason)
    if word in _WAITING:
        return Task("waiting", word, reason)
    return Task("running" if word in _RUNNING else "ended", word, reason)


def _limit(what: str, limit: str | None) -> str:
    return f"{what}: it asked for {limit}" if limit else what


def _accounted(job_id: str, task: int) -> str:
    """The state in the accounting, where a site has one; such as CANCELLED of 'CANCELLED by 7'."""
    try:
        done = call(["sacct", "--noheader", "-X", "-P", "-o", "State", "-j", f"{job_id}_{task}"])
    except NoAnswer:
        return ""
    words = done.stdout.split()
    return words[0].rstrip("+") if done.returncode == 0 and words else ""
