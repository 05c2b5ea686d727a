"""What the watch over a submission asks of a scheduler, and how its programs are called."""

from __future__ import annotations

import subprocess
from typing import Literal, NamedTuple, Protocol

from local.backends.script import Submission
from local.backends.site import Site
from local.jobs import Resources

ANSWER_S = 60.0  # after which a scheduler's program is taken for stuck


class Task(NamedTuple):
    """A task as the scheduler sees it.

    `stuck` will not run or end by itself; `ended` is over, well or not. `word` is the scheduler's
    own, `reason` what it gives for waiting, being stuck or having ended.
    """

    state: Literal["waiting", "running", "stuck", "ended"]
    word: str
    reason: str = ""


class NoAnswer(OSError):
    """The scheduler could not be asked."""


class Scheduler(Protocol):
    """A kind of cluster."""

    name: str
    program: str  # that submits
    default_config: str
    task_variable: str  # the environment variable with a task's number

    def command(self, site: Site, submission: Submission, resources: Resources) -> list[str]:
        """The command that submits."""

    def submit(self, command: list[str]) -> str:
        """Submits and returns the job's id.

        Raises:
            ValueError: when the scheduler refuses.
        """

    def tasks(self, job_id: str) -> dict[int, Task]:
        """The tasks that the scheduler knows.

        Raises:
            NoAnswer: when it does not say.
        """

    def cancel(self, job_id: str) -> str:
        """Cancels all tasks; returns what went wrong."""

    def explain(
        self, job_id: str, task: int, seen: Task | None, output: str, resources: Resources
    ) -> str:
        """Why a task failed, as far as the scheduler tells; an empty string otherwise."""


def call(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a scheduler's program out of reach of the terminal's Ctrl-C.

    Raises:
        NoAnswer: when it is missing or does not come back.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=ANSWER_S,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"no answer in {ANSWER_S:.0f} s"
        raise NoAnswer(f"{command[0]}: {reason}") from None


def one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
