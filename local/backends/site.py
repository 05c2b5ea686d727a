"""A site's cluster: how options of a job become flags of its scheduler.

The files are those of Kaldi's slurm.pl and queue.pl, one statement a line, `#` starts a comment:

    command sbatch --account speech     # what submits, with the flags that every job gets
    default time=24:00:00               # for jobs that do not say
    option mem=* --mem $0               # $0 is the value
    option gpu=0                        # this value adds nothing
    option partition=* --partition $0   # a new option: --partition long
    setup module load cuda              # ours: a shell command in each job before its own
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.jobs import Resources, nearest, option_name, with_option

_ASKED = ("gpu", "mem", "time", "num_threads")  # what a job asks of a site
# Not for a site to say.
_OURS = ("backend", "config", "retries", "dry_run", "max_jobs_run")


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a configuration file says; flags by option and value, where "*" is any value."""

    path: Path
    command: tuple[str, ...]
    flags: Mapping[tuple[str, str], tuple[str, ...]]
    defaults: Mapping[str, str]
    setup: tuple[str, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """The options that the file knows."""
        return tuple(dict.fromkeys(name for name, _ in self.flags))

    def flags_for(self, resources: Resources) -> list[str]:
        """The scheduler's flags for what a job asks for.

        Raises:
            ValueError: for an option that the file has no line for.
        """
        resources.refuse_unknown(self.options)
        asked = {name: getattr(resources, name) for name in _ASKED} | dict(resources.site)
        given = {name: str(value) for name, value in asked.items() if value is not None}
        found: list[str] = []
        for name, value in {**self.defaults, **given}.items():
            flags = self.flags.get((name, value), self.flags.get((name, "*")))
            if name in ("gpu", "mem") and value == "0" and (name, value) not in self.flags:
                flags = ()  # asks for nothing
            if flags is None:
                raise ValueError(
                    f"{self.path}: has no line for {option_name(name)} {value}, such as "
                    f"'option {name}=* --flag $0'"
                )
            found += [flag.replace("$0", value) for flag in flags]
        return found


class _Reader:
    """What the lines read so far have said."""

    def __init__(self, program: str) -> None:
        self._forms = {
            "command": f"{program} ...",
            "default": "name=value",
            "option": "name=value --flag ...",
            "setup": "shell command",
        }
        self.command: tuple[str, ...] = ()
        self.flags: dict[tuple[str, str], tuple[str, ...]] = {}
        self.defaults: dict[str, tuple[str, int]] = {}  # value and line
        self.setup: list[str] = []

    def read(self, number: int, line: str) -> None:
        """Takes one statement; raises ValueError for what is none."""
        statement, _, rest = line.partition(" ")
        if statement not in self._forms:
            raise ValueError(f"unknown statement '{statement}'{nearest(statement, [*self._forms])}")
        # A shell command may hold a # that is no comment.
        words = (rest,) if statement == "setup" else tuple(shlex.split(rest, comments=True))
        assignment = re.fullmatch(r"([A-Za-z][\w-]*)=(\S+)", words[0]) if words else None
        if statement == "command" and words:
            if self.command:
                raise ValueError(f"a second command; the first was '{self.command[0]} ...'")
            self.command = words
        elif statement == "setup" and rest.strip():
            self.setup.append(rest.strip())
        elif statement == "default" and assignment and len(words) == 1:
            self._default(assignment[1].replace("-", "_"), assignment[2], number)
        elif statement == "option" and assignment:
            self._option(assignment[1].replace("-", "_"), assignment[2], words[1:])
        else:
            raise ValueError(f"must be '{statement} {self._forms[statement]}', got '{line}'")

    def _default(self, name: str, value: str, number: int) -> None:
        if name in _OURS:
            raise ValueError(f"{option_name(name)} is not for a site to say")
        with_option(Resources(), option_name(name), [value])
        self.defaults[name] = (value, number)

    def _option(self, name: str, value: str, flags: tuple[str, ...]) -> None:
        if name == "max_jobs_run":
            return  # Kaldi's files have it; the array's own limit does this
        if name in _OURS:
            raise ValueError(f"{option_name(name)} is not for a site to say")
        if (name, value) in self.flags:
            raise ValueError(f"{name}={value} is there twice")
        self.flags[name, value] = flags


def read_site(path: Path, program: str) -> Site:
    """Reads a configuration file.

    Args:
        program: what the command is usually called, for the hint when it is missing.

    Raises:
        ValueError: with file and line for what is not a statement.
        FileNotFoundError: when the file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; conf/ has one for each kind of cluster")
    said = _Reader(program)
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = text.strip()
        if line and not line.startswith("#"):
            try:
                said.read(number, line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    if not said.command:
        raise ValueError(f"{path}: has no command, such as 'command {program}'")
    for name, (value, number) in said.defaults.items():
        if not {(name, value), (name, "*")} & set(said.flags) and value != "0":
            raise ValueError(
                f"{path}:{number}: {name}={value} has no 'option {name}=...' to go with it"
            )
    return Site(
        path=path,
        command=said.command,
        flags=said.flags,
        defaults={name: value for name, (value, _) in said.defaults.items()},
        setup=tuple(said.setup),
    )
