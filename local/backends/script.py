"""The script of a submission, and the files by which its tasks say how they ended.

A scheduler's own word for success is not to be had: it is silent about a cancelled or lost task.
So each task writes its exit status to a file that appears whole under its name, and a task
without that file has failed.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from local.jobs import Job, JobArray

_SCRIPT = """\
#!/bin/bash
# Written by submit.py. Task n of the array runs job ${{_jobs[n - 1]}}.
# The names here begin with _: the environment of the job is left alone.
_folder={folder}
_task=${{{task_variable}}}
_jobs=({numbers})
_job=${{_jobs[_task - 1]}}
_log={log}
_command=({command})

# A submission that was given up must not start late.
[[ -d $_folder && ! -e $_folder/given_up ]] || exit 1
cd {directory} || exit 1
mkdir -p "$(dirname "$_log")"
exec >>"$_log" 2>&1 </dev/null
_begin=$SECONDS
printf -v _words '%q ' "${{_command[@]}}"
printf '# %s\\n' "${{_words% }}"
printf '# Started at %s\\n# Running on %s\\n#\\n' "$(date)" "$(hostname)"

_finish() {{
    echo "# Ended (code $1) at $(date), elapsed time $((SECONDS - _begin)) seconds"
    echo "$1" >"$_folder/.$_task.$$" && mv "$_folder/.$_task.$$" "$_folder/$_task.status"
    # Never the status itself: some schedulers take 99 and 100 as requests.
    exit $(($1 != 0))
}}
{setup}
"${{_command[@]}}" &
_child=$!
# The end at a limit comes to all processes, the notice before it to this shell alone.
trap '_again=true' TERM
trap '_again=true; kill -USR1 "$_child" 2>/dev/null' USR1
trap '_again=true; kill -USR2 "$_child" 2>/dev/null' USR2
_again=true
while $_again; do
    _again=false
    wait "$_child"
    _status=$?
done
_finish "$_status"
"""


def quoted(word: str, name: str) -> str:
    """A word for the shell in which `name` stands for the number of the job."""
    if not name or name not in word:
        return shlex.quote(word)
    return '"$_job"'.join(shlex.quote(part) if part else "" for part in word.split(name))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One array of tasks, numbered from 1, and the folder of its script and status files."""

    folder: Path
    jobs: tuple[Job, ...]

    @property
    def script(self) -> Path:
        return self.folder / "script.sh"

    def output(self, task: int) -> Path:
        """Where the scheduler puts what it has to say itself."""
        return self.folder / f"{task}.out"

    @property
    def job_id(self) -> Path:
        """Where the scheduler's id of the job is kept."""
        return self.folder / "job_id"

    def statuses(self) -> dict[int, int]:
        """The exit statuses that tasks have left; one that is no number yet does not count."""
        found = {}
        for path in self.folder.glob("*.status"):
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            if text.isdecimal():
                found[int(path.stem)] = int(text)
        return found

    def refresh(self) -> None:
        """Makes a network file system look again: a folder that changes is read anew."""
        probe = self.folder / f".probe.{os.getpid()}"
        probe.touch()
        os.listdir(self.folder)
        probe.unlink()

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it can still run."""
        return (self.folder / "given_up").exists() or len(self.statuses()) == len(self.jobs)

    def give_up(self) -> None:
        """Tasks that start from now on do nothing."""
        (self.folder / "given_up").touch()


def _plain_name(jobs: Sequence[Job]) -> str:
    """The name of the first log without what schedulers read in a path."""
    return re.sub(r"[^\w.-]", "_", jobs[0].log.name, flags=re.ASCII)


def plan(jobs: Sequence[Job]) -> Submission:
    """A submission with a folder of its own beside the first log."""
    parent = jobs[0].log.parent.absolute() / ".submit"
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}.{os.getpid()}"
    tries = (f"{_plain_name(jobs)}.{stamp}.{n}" for n in itertools.count(1))
    folder = next(parent / name for name in tries if not (parent / name).exists())
    return Submission(folder=folder, jobs=tuple(jobs))


def unsettled(submission: Submission) -> list[Submission]:
    """Earlier submissions with the same first log whose tasks may still run."""
    name = _plain_name(submission.jobs)
    folders = submission.folder.parent.glob(f"{name}.*/job_id")
    earlier = [replace(submission, folder=path.parent) for path in sorted(folders)]
    return [other for other in earlier if not other.is_settled]


def script_text(
    submission: Submission, array: JobArray, setup: Sequence[str], task_variable: str
) -> str:
    """The script: arguments come through as they are, whatever they hold."""
    lines = []
    if array.resources.num_threads is not None:
        lines.append(f"export OMP_NUM_THREADS={array.resources.num_threads}")
    for line in setup:
        complaint = shlex.quote(f"setup failed: {line}")
        lines.append(f"{line} || {{ echo {complaint}; _finish 1; }}")
    log, *command = (quoted(word, array.name) for word in array.words)
    return _SCRIPT.format(
        folder=shlex.quote(str(submission.folder)),
        task_variable=task_variable,
        numbers=" ".join(str(job.number) for job in submission.jobs),
        log=log,
        command=" ".join(command),
        directory=shlex.quote(str(Path.cwd())),
        setup="\n".join(lines),
    )


def write(submission: Submission, text: str) -> None:
    """Writes the script; the logs of earlier calls are removed."""
    submission.folder.mkdir(parents=True)
    for job in submission.jobs:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.unlink(missing_ok=True)
    submission.script.write_text(text, encoding="utf-8", errors="surrogateescape")
