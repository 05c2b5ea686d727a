"""Job arrays in the calling convention of Kaldi's run.pl, slurm.pl and queue.pl.

    <backend> [--gpu n] [--mem 4G] [--time T] [--num-threads n] [--max-jobs-run n] [--config f]
              [JOB=1:n] <log with JOB> <command with JOB>

What every backend shares: reading that line, and the head and foot of a job's log.
"""

from __future__ import annotations

import difflib
import re
import shlex
import socket
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

USAGE = (
    "[--gpu n] [--mem 4G] [--time T] [--num-threads n] [--max-jobs-run n] [--config f] "
    "[JOB=1:n] <log with JOB> <command with JOB>"
)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks for; None where it leaves the choice to the backend."""

    gpu: int = 0
    mem: str | None = None  # such as 4G
    time: str | None = None  # such as 24:00:00
    num_threads: int | None = None
    max_jobs_run: int | None = None  # of this array at once
    config: str | None = None  # the backend's own configuration file

    def __post_init__(self) -> None:
        for name, least in (("gpu", 0), ("num_threads", 1), ("max_jobs_run", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')} must be >= {least}, got {value}")


@dataclass(frozen=True)
class Job:
    """One job of an array: the command as the program's argument list, and its log."""

    number: int
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class JobArray:
    """What a command line asks for."""

    resources: Resources
    jobs: tuple[Job, ...]


_INTEGER_OPTIONS = {"gpu", "num_threads", "max_jobs_run"}
_RANGE = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")


def _with_option(resources: Resources, option: str, value: str | None) -> Resources:
    names = [f.name for f in fields(Resources)]
    name = option[2:].replace("-", "_")
    if name not in names:
        options = ["--" + n.replace("_", "-") for n in names]
        near = difflib.get_close_matches(option, options, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"unknown option '{option}'{hint}")
    if value is None:
        raise ValueError(f"{option} needs a value")
    if name not in _INTEGER_OPTIONS:
        return replace(resources, **{name: value})
    if not re.fullmatch(r"-?\d+", value):
        raise ValueError(f"{option} must be a whole number, got '{value}'")
    return replace(resources, **{name: int(value)})


def parse(arguments: list[str]) -> JobArray:
    """Reads a backend's arguments; options and JOB=1:n may come in any order before the log.

    Raises:
        ValueError: for an unknown option, a bad number or range, a missing log or command, or an
            array whose jobs would share one log.
    """
    rest = list(arguments)
    resources = Resources()
    name, first, last = "", 1, 1
    while rest:
        if rest[0].startswith("-"):
            option = rest.pop(0)
            resources = _with_option(resources, option, rest.pop(0) if rest else None)
        elif match := _RANGE.fullmatch(rest[0]):
            rest.pop(0)
            name, first = match[1], int(match[2])
            last = int(match[3] or first)
            if first < 1 or last < first:
                raise ValueError(f"{match[0]}: the range must be 1 <= first <= last")
        else:
            break
    if len(rest) < 2:
        raise ValueError(f"needs a log file and a command; usage: {USAGE}")
    if last > first and name not in rest[0]:
        raise ValueError(f"the log must hold {name}, so that each job has its own, got '{rest[0]}'")

    def numbered(number: int) -> Job:
        log, *command = (word.replace(name, str(number)) if name else word for word in rest)
        return Job(number, tuple(command), Path(log))

    return JobArray(resources, tuple(numbered(n) for n in range(first, last + 1)))


def log_head(job: Job) -> str:
    """The first lines of a job's log: the command, the host and the time."""
    return (
        f"# {shlex.join(job.command)}\n"
        f"# Started at {time.ctime()}\n"
        f"# Running on {socket.gethostname()}\n#\n"
    )


def log_foot(status: int, elapsed_s: float) -> str:
    """The last line of a job's log, as run.pl writes it."""
    return f"# Ended (code {status}) at {time.ctime()}, elapsed time {elapsed_s:.0f} seconds\n"
