"""GridEngine (Son of Grid Engine, Univa, Open Grid Scheduler): qsub, qstat, qdel, qacct."""

from __future__ import annotations

import getpass
import re
import time
from xml.etree import ElementTree

from local.backends.scheduler import NoAnswer, Task, call, one_line
from local.backends.script import Submission
from local.backends.site import Site
from local.jobs import Resources

NODE_LOST_S = 300.0  # for which a node may be silent
ACCOUNT_S = 20.0  # the accounting is written a while after a job's end
_LIMITED = {"37", "44"}  # qacct's `failed` for a job over a limit, by the master and by the node


class GridEngine:
    """See `local.backends.scheduler.Scheduler`."""

    name = "sge"
    program = "qsub"
    default_config = "conf/queue.conf"
    task_variable = "SGE_TASK_ID"

    def __init__(self) -> None:
        self._silent_since: dict[str, float] = {}  # of queues on nodes
        self._patience_s = ACCOUNT_S  # with the accounting, for all tasks together

    def command(self, site: Site, submission: Submission, resources: Resources) -> list[str]:
        if set(":,$") & set(str(submission.folder)):
            raise ValueError(f"{submission.folder}: GridEngine takes no folder with : , or $")
        limit = ["-tc", str(resources.max_jobs_run)] if resources.max_jobs_run else []
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", submission.jobs[0].log.name)
        return [
            *site.command,
            *site.flags_for(resources),
            *("-terse", "-t", f"1-{len(submission.jobs)}", *limit),
            *("-N", name if name[0].isalpha() else f"j{name}"),
            *("-S", "/bin/bash", "-j", "y", "-o", f"{submission.folder}/$TASK_ID.out"),
            str(submission.script),
        ]

    def submit(self, command: list[str]) -> str:
        done = call(command)
        match = re.match(r"(\d+)\.", done.stdout.strip().rpartition("\n")[2])
        if done.returncode == 0 and match is not None:
            return match[1]
        # It may say "Unable to run job" and "has been submitted" at once.
        for queued in re.findall(r"[Yy]our job(?:-array)? (\d+)", done.stderr):
            self.cancel(queued)
        said = one_line(done.stderr or done.stdout) or f"exit status {done.returncode}"
        raise ValueError(f"{command[0]} refused the job: {said}")

    def tasks(self, job_id: str) -> dict[int, Task]:
        done = call(["qstat", "-u", getpass.getuser(), "-g", "d", "-f", "-xml"])
        if done.returncode != 0:
            raise NoAnswer(f"qstat: {one_line(done.stderr)}")
        try:
            root = ElementTree.fromstring(done.stdout)
        except ElementTree.ParseError as error:
            raise NoAnswer(f"qstat: {error}") from None
        found = {}
        now = time.monotonic()
        for queue in root.iter("Queue-List"):
            name = queue.findtext("name", "")
            if "u" in queue.findtext("state", ""):  # its node does not answer
                self._silent_since.setdefault(name, now)
            else:
                self._silent_since.pop(name, None)
            silent_s = now - self._silent_since.get(name, now)
            for entry in _of(job_id, queue):
                if silent_s > NODE_LOST_S:
                    reason = f"{name} has been silent for {silent_s:.0f} s"
                    found[_number(entry)] = Task("stuck", "u", reason)
                else:
                    found[_number(entry)] = _task(entry)
        for waiting in root.findall("job_info"):
            for entry in _of(job_id, waiting):
                found[_number(entry)] = _task(entry)
        return found

    def cancel(self, job_id: str) -> str:
        done = call(["qdel", job_id])
        return "" if done.returncode == 0 else one_line(done.stderr or done.stdout)

    def explain(
        self, job_id: str, task: int, seen: Task | None, output: str, resources: Resources
    ) -> str:
        if seen is not None and seen.state == "stuck":
            reason = seen.reason or _error_reason(job_id, task)
            return f"GridEngine would never have run it ({one_line(f'{seen.word}: {reason}')})"
        record = self._account(job_id, task)
        code, _, words = record.get("failed", "").partition(":")
        if code.strip() in _LIMITED:
            wall_s = float(record.get("ru_wallclock", "0").rstrip("s"))
            if resources.time_s is not None and wall_s >= resources.time_s:
                return f"time-out: it asked for {resources.time}"
            memory = record.get("maxvmem", "?")
            return f"over its memory or time: {memory} in {wall_s:.0f} s ({words.strip()})"
        return f"GridEngine says: {words.strip()}" if words.strip() else ""

    def _account(self, job_id: str, task: int) -> dict[str, str]:
        """What qacct has on a task; empty when it has nothing, as where there is no accounting."""
        while True:
            try:
                done = call(["qacct", "-j", job_id, "-t", str(task)])
            except NoAnswer:
                return {}
            rows = [line.split(None, 1) for line in done.stdout.splitlines()]
            record = {row[0]: row[1].strip() for row in rows if len(row) == 2}
            if done.returncode == 0 and "failed" in record:
                return record
            if self._patience_s <= 0 or "No such file" in done.stderr:
                return {}
            self._patience_s -= 1
            time.sleep(1.0)


def _of(job_id: str, parent: ElementTree.Element) -> list[ElementTree.Element]:
    return [e for e in parent.findall("job_list") if e.findtext("JB_job_number") == job_id]


def _number(entry: ElementTree.Element) -> int:
    return int(entry.findtext("tasks") or 1)


def _task(entry: ElementTree.Element) -> Task:
    word = entry.findtext("state", "")
    if "E" in word:
        return Task("stuck", word)
    return Task("waiting" if "w" in word or "h" in word else "running", word)


def _error_reason(job_id: str, task: int) -> str:
    try:
        done = call(["qstat", "-j", job_id])
    except NoAnswer:
        return ""
    found = re.findall(rf"^error reason\s+{task}:\s*(.*)$", done.stdout, re.MULTILINE)
    return found[0] if found else ""
