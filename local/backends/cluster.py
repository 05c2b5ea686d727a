"""Job arrays on a cluster: submitted, watched until each task is accounted for, cancelled.

A task has succeeded when its status file holds 0, and in no other case. The scheduler is asked,
less and less often, to find what it has lost: a task that it no longer knows, and that has left
no status file within a while (network file systems are slow), has failed.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local.backends import script
from local.backends.display import Display, LogReader, describe_exit, describe_failure
from local.backends.retrying import run_with_retries
from local.backends.scheduler import NoAnswer, Scheduler, Task
from local.backends.sge import GridEngine
from local.backends.site import Site, read_site
from local.backends.slurm import Slurm
from local.jobs import Job, JobArray, Resources

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCHEDULERS: dict[str, type[Slurm] | type[GridEngine]] = {"slurm": Slurm, "sge": GridEngine}


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the watch waits; (first, at most) where it waits longer and longer."""

    files_s: tuple[float, float] = (0.2, 5.0)  # between two looks at logs and status files
    scheduler_s: tuple[float, float] = (2.0, 30.0)  # between two questions
    lost_s: float = 30.0  # for the status file of a task that the scheduler no longer knows
    reason_s: float = 10.0  # for the scheduler's reason for a failure
    deaf_s: float = 1800.0  # with a scheduler that does not answer


@dataclass
class Watch:
    """The tasks of one submission until each has ended."""

    scheduler: Scheduler
    submission: script.Submission
    job_id: str
    resources: Resources
    display: Display
    patience: Patience
    count: int  # of the whole array
    failed: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open = dict(enumerate(self.submission.jobs, 1))
        self._logs = {task: LogReader(job.log) for task, job in self._open.items()}
        self._status: dict[int, tuple[int, float]] = {}  # of failed tasks, and when it was seen
        self._gone: dict[int, float] = {}  # since when the scheduler calls a task ended
        self._seen: dict[int, Task] = {}  # the last word on tasks that will not run any more
        self._answered = time.monotonic()
        self._question_s = self.patience.scheduler_s[0]
        self._next_question = self._answered + self._question_s
        self._waiting = ""

    def follow(self) -> list[Job]:
        """Returns the failed jobs once every task has ended, each described on the terminal."""
        pause_s = self.patience.files_s[0]
        while True:
            before = len(self._open)
            self._read_files()
            if time.monotonic() >= self._next_question:
                self._ask()
            self._judge()
            if not self._open:
                return self.failed
            if len(self._open) < before:
                pause_s = self.patience.files_s[0]
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, self.patience.files_s[1])

    def _read_files(self) -> None:
        if self._gone.keys() - self._status.keys():
            self.submission.refresh()
        statuses = self.submission.statuses()
        now = time.monotonic()
        for task in list(self._open):
            self._logs[task].show(self.display)
            status = statuses.get(task)
            if status == 0:
                self._settle(task)
            elif status is not None and task not in self._status:
                self._status[task] = (status, now)
                self._next_question = min(self._next_question, now + 1)  # for the reason

    def _ask(self) -> None:
        now = time.monotonic()
        self._question_s = min(2 * self._question_s, self.patience.scheduler_s[1])
        self._next_question = now + self._question_s
        try:
            tasks = self.scheduler.tasks(self.job_id)
        except NoAnswer as error:
            deaf_s = now - self._answered
            self._say(f"no answer from the scheduler for {deaf_s:.0f} s: {error}")
            if deaf_s > self.patience.deaf_s:
                for task in list(self._open):
                    self._fail(task, f"the scheduler has not answered for {deaf_s:.0f} s: {error}")
            return
        self._answered = now
        for task in self._open:
            found = tasks.get(task)
            if found is None or found.state == "ended":
                self._gone.setdefault(task, now)
            else:
                self._gone.pop(task, None)
                self._seen.pop(task, None)
            if found is not None and found.state in ("ended", "stuck"):
                self._seen[task] = found
        known = [tasks[task] for task in self._open if task in tasks]
        if known and all(task.state == "waiting" for task in known):
            reasons = sorted({task.reason or task.word for task in known})
            self._say(f"{len(known)} waiting ({', '.join(reasons)})")

    def _say(self, text: str) -> None:
        if text != self._waiting:
            self._waiting = text
            self.display.progress(f"{self.scheduler.name} job {self.job_id}: {text}")

    def _judge(self) -> None:
        now = time.monotonic()
        for task in list(self._open):
            seen = self._seen.get(task)
            if task in self._status:
                status, at = self._status[task]
                if task in self._gone or now - at > self.patience.reason_s:
                    self._fail(task, describe_exit(status))
            elif (seen is not None and seen.state == "stuck") or (
                now - self._gone.get(task, now) > self.patience.lost_s
            ):
                self._fail(task)

    def _fail(self, task: int, how: str = "") -> None:
        job = self._open[task]
        try:
            output = self.submission.output(task).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            output = ""
        seen = self._seen.get(task)
        why = self.scheduler.explain(self.job_id, task, seen, output, self.resources)
        parts = [how, why] if how else [why or "lost", "it left no exit status"]
        self._logs[task].show(self.display)
        self.display.line(describe_failure(job, ", ".join(filter(None, parts)), self.count))
        if said := output.splitlines()[-3:]:
            self.display.line("\n".join(["what the scheduler wrote besides:", *said]))
        self.failed.append(job)
        self._settle(task)

    def _settle(self, task: int) -> None:
        self._logs[task].show(self.display)
        del self._open[task]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals to end wait until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _refuse_earlier(scheduler: Scheduler, submission: script.Submission) -> None:
    """Two jobs must not write one log: that of a submitter that was killed may still run."""
    for earlier in script.unsettled(submission):
        job_id = earlier.job_id.read_text().strip()
        states = {task.state for task in scheduler.tasks(job_id).values()}
        if states - {"ended"}:
            raise ValueError(
                f"{scheduler.name} job {job_id} of an earlier call still works on "
                f"{submission.jobs[0].log}: wait for it, or cancel it"
            )
        earlier.give_up()


def _run_once(
    jobs: Sequence[Job],
    array: JobArray,
    scheduler: Scheduler,
    site: Site,
    patience: Patience,
    display: Display,
) -> list[Job]:
    submission = script.plan(jobs)
    command = scheduler.command(site, submission, array.resources)
    text = script.script_text(submission, array, site.setup, scheduler.task_variable)
    if array.resources.dry_run:
        print(f"# {shlex.join(command)}\n# {submission.script}:\n{text}", end="")
        return []
    _refuse_earlier(scheduler, submission)
    script.write(submission, text)
    job_id = ""
    failed: list[Job] = []
    try:
        with uninterrupted():
            job_id = scheduler.submit(command)
            submission.job_id.write_text(f"{job_id}\n")
        display.line(f"submit.py: {scheduler.name} job {job_id}: {array.words[0]}")
        watch = Watch(
            scheduler, submission, job_id, array.resources, display, patience, len(array.jobs)
        )
        failed = watch.follow()
    except BaseException:
        with uninterrupted():
            submission.give_up()
            if job_id and (wrong := scheduler.cancel(job_id)):
                display.line(f"submit.py: {scheduler.name} job {job_id} is not cancelled: {wrong}")
        raise
    finally:
        display.close()
    if failed:  # what was lost or stuck may still be there
        submission.give_up()
        scheduler.cancel(job_id)
    return failed


def run(array: JobArray, patience: Patience | None = None) -> int:
    """Runs all jobs, or says what would be submitted.

    Returns:
        the number of jobs that failed.

    Raises:
        ValueError: for a mistake in the site's configuration or a job that is refused.
        NoAnswer: when the scheduler cannot be reached to begin with.
    """
    scheduler = SCHEDULERS[array.resources.backend]()
    config = Path(array.resources.config or scheduler.default_config)
    site = read_site(config, scheduler.program)
    display = Display()

    def run_once(jobs: Sequence[Job]) -> list[Job]:
        return _run_once(jobs, array, scheduler, site, patience or Patience(), display)

    return run_with_retries(array.jobs, array.resources.retries, run_once, display)
