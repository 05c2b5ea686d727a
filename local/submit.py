#!/usr/bin/env python3
"""Runs job arrays on this machine, in the calling convention of Kaldi's run.pl (see jobs.py).

As many jobs run at once as there are cores (--num-threads each) or GPUs (--gpu each); memory and
time are for clusters and have no effect here. Output goes to the logs; lines of a log that start
with "progress: " or "result: " are shown as they come. Exit status 1 when any job failed, each
named with the end of its log; the jobs end when this program is ended.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

sys.path[0] = str(Path(__file__).resolve().parents[1])
from local.gpus import visible_gpus  # noqa: E402
from local.jobs import Job, JobArray, Resources, log_foot, log_head, parse  # noqa: E402

POLL_S = 0.1
GRACE_S = 10.0  # between asking a job to end and ending it
TAIL_LINES = 15


class Display:
    """Shows progress on the terminal in one line that is overwritten, elsewhere line by line."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._open_line = False

    def progress(self, text: str) -> None:
        if not self._is_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)
        self._open_line = True

    def line(self, text: str) -> None:
        self.close()
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the overwritten line, so that what follows starts on its own."""
        if self._open_line:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._open_line = False


class RunningJob:
    """One started job: its process group, its log and how much of that was shown."""

    def __init__(self, job: Job, environment: dict[str, str]) -> None:
        self.job = job
        self._started = time.monotonic()
        self._shown_bytes = 0
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.write_text(log_head(job), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with job.log.open("ab") as log:
                self._process = subprocess.Popen(
                    job.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            self._append(f"{job.command[0]}: {error.strerror}\n")

    def _append(self, text: str) -> None:
        with self.job.log.open("a", encoding="utf-8") as log:
            log.write(text)

    def poll(self) -> int | None:
        """The exit status once the job has ended (minus the signal's number when killed)."""
        status = 127 if self._process is None else self._process.poll()
        if status is not None:
            self._append(log_foot(status, time.monotonic() - self._started))
        return status

    def new_lines(self) -> list[str]:
        """The whole lines that the log has gained since the last call."""
        with self.job.log.open("rb") as log:
            log.seek(self._shown_bytes)
            block, newline, _ = log.read().rpartition(b"\n")
        self._shown_bytes += len(block) + len(newline)
        return block.decode("utf-8", errors="replace").splitlines()

    def send(self, number: int) -> None:
        """Sends a signal to the job and everything it started."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return  # it ended by itself

    def wait(self, timeout_s: float) -> bool:
        """Whether the job ends within the time."""
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return False
        return True


def slots(resources: Resources) -> list[dict[str, str]]:
    """One entry a job that may run at once: the environment variables that are its own.

    Raises:
        ValueError: when the machine has fewer GPUs than one job asks for.
    """
    own: dict[str, str] = {}
    if resources.num_threads is not None:
        own["OMP_NUM_THREADS"] = str(resources.num_threads)
    if resources.gpu:
        gpus = visible_gpus()
        if len(gpus) < resources.gpu:
            raise ValueError(f"--gpu must be <= {len(gpus)}, the GPUs here, got {resources.gpu}")
        groups = [
            gpus[i : i + resources.gpu]
            for i in range(0, len(gpus) - resources.gpu + 1, resources.gpu)
        ]
        found = [{**own, "CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups]
    else:
        threads = resources.num_threads or 1
        found = [own] * max(1, len(os.sched_getaffinity(0)) // threads)
    return found[: resources.max_jobs_run]


def describe_failure(job: Job, status: int, count: int) -> str:
    """Which job failed, how, and the end of its log; one line for an error that is one line."""
    how = f"exit status {status}"
    if status < 0:
        how = f"killed by {signal.Signals(-status).name}"
    if status == -signal.SIGKILL:
        how += ", often the system's answer to memory running out"
    which = f"job {job.number} of {count}" if count > 1 else "the job"
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    body = [line for line in lines if not line.startswith("#")][-TAIL_LINES:]
    if body and ": error: " in body[-1] and status > 0:
        which = f"job {job.number}: " if count > 1 else ""
        return f"{which}{body[-1]} (log: {job.log})"
    return "\n".join([f"submit.py: {which} failed ({how}); the end of {job.log}:", *body])


def show(job: RunningJob, display: Display) -> None:
    """Passes on what a job's log has to say to the user."""
    for line in job.new_lines():
        if line.startswith("progress: "):
            display.progress(line.removeprefix("progress: "))
        elif line.startswith("result: "):
            display.line(line.removeprefix("result: "))


def stop(running: list[RunningJob]) -> None:
    """Ends jobs and all they started: asks first, insists after the grace time."""
    for job in running:
        job.send(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for job in running:
        job.wait(max(0.0, deadline - time.monotonic()))
        job.send(signal.SIGKILL)  # what ignored the first, or was left behind by its parent
        job.wait(GRACE_S)
        job.poll()


def run(array: JobArray) -> int:
    """Runs all jobs.

    Returns:
        the number of jobs that failed.
    """
    display = Display()
    free = slots(array.resources)
    waiting = list(array.jobs)
    running: list[tuple[RunningJob, dict[str, str]]] = []
    failures = 0
    try:
        while waiting or running:
            while waiting and free:
                own = free.pop(0)
                running.append((RunningJob(waiting.pop(0), {**os.environ, **own}), own))
            for entry in list(running):
                job, own = entry
                status = job.poll()
                show(job, display)
                if status is None:
                    continue
                running.remove(entry)
                free.append(own)
                if status != 0:
                    failures += 1
                    display.line(describe_failure(job.job, status, len(array.jobs)))
            time.sleep(POLL_S if running else 0)
    finally:
        display.close()
        stop([job for job, _ in running])
    return failures


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        failures = run(parse(sys.argv[1:]))
    except (ValueError, OSError) as error:
        print(f"submit.py: error: {error}", file=sys.stderr)
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
