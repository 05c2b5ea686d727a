"""Job arrays in the calling convention of Kaldi's run.pl, slurm.pl and queue.pl.

    <backend> [--gpu n] [--mem 4G] [--time 24:00:00] [--num-threads n] [--max-jobs-run n]
              [--config f] [--retries n] [--dry-run] [JOB=1:n] <log with JOB> <command with JOB>

What every backend shares: reading that line, and the head and foot of a job's log.
"""

from __future__ import annotations

import difflib
import re
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

USAGE = (
    "[--backend local|slurm|sge] [--gpu n] [--mem 4G] [--time 24:00:00] [--num-threads n] "
    "[--max-jobs-run n] [--config f] [--retries n] [--dry-run] "
    "[JOB=1:n] <log with JOB> <command with JOB>"
)
BACKENDS = ("local", "slurm", "sge")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the options ask for; None where the choice is the backend's."""

    backend: str = "local"
    gpu: int | None = None
    mem: str | None = None  # such as 4G; 0 asks for nothing
    time: str | None = None  # hours:minutes:seconds, such as 24:00:00
    num_threads: int | None = None
    max_jobs_run: int | None = None  # of this array at once
    config: str | None = None  # the backend's own configuration file
    retries: int = 0  # of each job that failed
    dry_run: bool = False  # print what would be run
    site: tuple[tuple[str, str], ...] = ()  # options that only the site's configuration knows

    def __post_init__(self) -> None:
        for name, least in (("gpu", 0), ("num_threads", 1), ("max_jobs_run", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')} must be >= {least}, got {value}")
        if self.backend not in BACKENDS:
            near = nearest(self.backend, BACKENDS)
            raise ValueError(f"--backend must be local, slurm or sge, got '{self.backend}'{near}")
        if self.mem is not None and not re.fullmatch(r"0|\d+(\.\d+)?[KMGT]", self.mem):
            raise ValueError(f"--mem must be a number with K, M, G or T, got '{self.mem}'")
        # A bare number would be minutes to one scheduler and seconds to another.
        if self.time is not None and not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", self.time):
            raise ValueError(f"--time must be hours:minutes:seconds, got '{self.time}'")

    @property
    def mem_bytes(self) -> int:
        """What --mem asks for; 0 where it does not."""
        return (
            int(float(self.mem[:-1]) * _UNITS[self.mem[-1]]) if self.mem and self.mem != "0" else 0
        )

    @property
    def time_s(self) -> int | None:
        """The limit of --time in seconds."""
        if self.time is None:
            return None
        hours, minutes, seconds = map(int, self.time.split(":"))
        return hours * 3600 + minutes * 60 + seconds

    def refuse_unknown(self, known: Sequence[str] = ()) -> None:
        """Raises for the first option that neither this program nor the site knows.

        Raises:
            ValueError: naming the nearest one.
        """
        for name, _ in self.site:
            if name not in known:
                options = [option_name(n) for n in (*_NAMES, *known)]
                option = option_name(name)
                raise ValueError(f"unknown option '{option}'{nearest(option, options)}")


_NAMES = tuple(f.name for f in fields(Resources) if f.name != "site")


def option_name(name: str) -> str:
    """`--num-threads` of `num_threads`."""
    return "--" + name.replace("_", "-")


def nearest(word: str, choices: Sequence[str]) -> str:
    """`, did you mean 'x'?` for the choice nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, choices, n=1)
    return f", did you mean '{near[0]}'?" if near else ""


@dataclass(frozen=True)
class Job:
    """One job of an array: the command as the program's argument list, and its log."""

    number: int
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class JobArray:
    """What a command line asks for; `words` are log and command before `name` is replaced."""

    resources: Resources
    jobs: tuple[Job, ...]
    name: str
    words: tuple[str, ...]


_INTEGER_OPTIONS = {"gpu", "num_threads", "max_jobs_run", "retries"}
_RANGE = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")


def with_option(resources: Resources, option: str, rest: list[str]) -> Resources:
    """The resources with one more option, whose value is taken from `rest`."""
    name = option[2:].replace("-", "_")
    if name == "dry_run":
        return replace(resources, dry_run=True)
    if not option.startswith("--"):
        raise ValueError(f"unknown option '{option}'")
    if not rest:
        raise ValueError(f"{option} needs a value")
    value = rest.pop(0)
    if name not in _NAMES:
        return replace(resources, site=(*resources.site, (name, value)))
    if name not in _INTEGER_OPTIONS:
        return replace(resources, **{name: value})
    if not re.fullmatch(r"-?\d+", value):
        raise ValueError(f"{option} must be a whole number, got '{value}'")
    return replace(resources, **{name: int(value)})


def parse(arguments: list[str]) -> JobArray:
    """Reads a backend's arguments; options and JOB=1:n may come in any order before the log.

    Raises:
        ValueError: for a bad number or range, a missing log or command, or an array whose jobs
            would share one log.
    """
    rest = list(arguments)
    resources = Resources()
    name, first, last = "", 1, 1
    while rest:
        if rest[0].startswith("-"):
            resources = with_option(resources, rest.pop(0), rest)
        elif match := _RANGE.fullmatch(rest[0]):
            rest.pop(0)
            name, first = match[1], int(match[2])
            last = int(match[3] or first)
            if first < 1 or last < first:
                raise ValueError(f"{match[0]}: the range must be 1 <= first <= last")
        else:
            break
    if resources.backend == "local":
        resources.refuse_unknown()
    if len(rest) < 2:
        raise ValueError(f"needs a log file and a command; usage: {USAGE}")
    if last > first and name not in rest[0]:
        raise ValueError(f"the log must hold {name}, so that each job has its own, got '{rest[0]}'")

    def numbered(number: int) -> Job:
        log, *command = (word.replace(name, str(number)) if name else word for word in rest)
        return Job(number, tuple(command), Path(log))

    jobs = tuple(numbered(n) for n in range(first, last + 1))
    return JobArray(resources, jobs, name, tuple(rest))


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
