"""Job arrays on this machine: as many at once as its cores, GPUs and memory carry."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from local.backends.display import Display, LogReader, describe_exit, describe_failure
from local.backends.retrying import run_with_retries
from local.gpus import visible_gpus
from local.jobs import Job, JobArray, Resources, log_foot, log_head

POLL_S = 0.1
GRACE_S = 10.0  # between asking a job to end and ending it
# The most a container may use, by version of control groups.
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class RunningJob:
    """One started job: its process group and its log."""

    def __init__(self, job: Job, environment: dict[str, str]) -> None:
        self.job = job
        self.output = LogReader(job.log)
        self._started = time.monotonic()
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


def memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), limits: Sequence[str] = CGROUP_LIMITS
) -> tuple[int, int]:
    """The memory of this machine, or of the container this is: all of it, and what is free."""
    total = free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if meminfo.exists():
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(rows["MemAvailable"].split()[0]) << 10
    for name in limits:
        path = Path(name)
        limit = path.read_text().strip() if path.exists() else "max"
        if limit != "max":
            total = min(total, int(limit))
    return total, min(total, free)


def slots(resources: Resources) -> list[dict[str, str]]:
    """One entry a job that may run at once: the environment variables that are its own.

    Raises:
        ValueError: when the machine has fewer GPUs or less memory than one job asks for.
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
    if resources.mem_bytes:
        total, free = memory_bytes()
        if resources.mem_bytes > total:
            raise ValueError(
                f"--mem must be <= {total / 2**30:.1f}G, the memory here, got {resources.mem}"
            )
        found = found[: max(1, free // resources.mem_bytes)]
    return found[: resources.max_jobs_run]


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


def _run_once(jobs: Sequence[Job], array: JobArray, display: Display) -> list[Job]:
    free = slots(array.resources)
    waiting = list(jobs)
    running: list[tuple[RunningJob, dict[str, str]]] = []
    failed = []
    try:
        while waiting or running:
            while waiting and free:
                own = free.pop(0)
                running.append((RunningJob(waiting.pop(0), {**os.environ, **own}), own))
            for entry in list(running):
                job, own = entry
                status = job.poll()
                job.output.show(display)
                if status is None:
                    continue
                running.remove(entry)
                free.append(own)
                if status != 0:
                    failed.append(job.job)
                    how = describe_exit(status)
                    display.line(describe_failure(job.job, how, len(array.jobs)))
            time.sleep(POLL_S if running else 0)
    finally:
        display.close()
        stop([job for job, _ in running])
    return failed


def run(array: JobArray) -> int:
    """Runs all jobs, or says what would be run.

    Returns:
        the number of jobs that failed.

    Raises:
        ValueError: when the machine cannot carry one job.
    """
    if array.resources.dry_run:
        print(f"# this machine, {len(slots(array.resources))} at once")
        for job in array.jobs:
            print(f"{shlex.join(job.command)} > {shlex.quote(str(job.log))} 2>&1")
        return 0
    display = Display()

    def run_once(jobs: Sequence[Job]) -> list[Job]:
        return _run_once(jobs, array, display)

    return run_with_retries(array.jobs, array.resources.retries, run_once, display)
