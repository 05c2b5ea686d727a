"""Schedulers that lie: programs called sbatch, squeue, qsub, ... that do what a test tells them.

Files in the toy's folder say what: `skip` (tasks that are never run, one a line), `queue` (what
squeue or qstat print), `deaf` (their error, with exit status 1), `refusal` (of sbatch or qsub),
`account/<task>` (what qacct prints). What they are called with is kept in `calls`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from local.backends import cluster
from local.jobs import parse

_HEAD = """\
#!/bin/bash
toy={folder}
printf '%s' "${{0##*/}}" >>"$toy/calls"; printf '|%s' "$@" >>"$toy/calls"; echo >>"$toy/calls"
"""
_SUBMIT = """\
if [[ -e $toy/refusal ]]; then cat "$toy/refusal" >&2; exit 1; fi
script=${{@: -1}}
for word in "$@"; do
    if [[ $previous == -t || $word == --array=* ]]; then last=${{word##*1-}} last=${{last%\\%*}}; fi
    previous=$word
done
for ((n = 1; n <= last; n++)); do
    grep -qsx "$n" "$toy/skip" && continue
    {variable}=$n bash "$script" >"$(dirname "$script")/$n.out" 2>&1
done
if [[ -e $toy/once ]]; then rm "$toy/once" "$toy/skip"; fi
echo "{answer}"
"""
_ASK = """\
if [[ -e $toy/deaf ]]; then cat "$toy/deaf" >&2; exit 1; fi
cat "$toy/queue"
"""
_ACCOUNT = """\
while [[ $1 != -t ]]; do shift; done
cat "$toy/account/$2"
"""
_PROGRAMS = {
    "sbatch": _SUBMIT.format(variable="SLURM_ARRAY_TASK_ID", answer="7;test"),
    "squeue": _ASK,
    "scancel": "",
    "sacct": "echo 'Slurm accounting storage is disabled' >&2; exit 1\n",
    "qsub": _SUBMIT.format(variable="SGE_TASK_ID", answer="7.1-$last:1"),
    "qstat": _ASK,
    "qdel": "",
    "qacct": _ACCOUNT,
}
SITES = {
    "slurm": "command sbatch --export=ALL\noption mem=* --mem $0\noption time=* --time $0\n",
    "sge": "command qsub -V\noption mem=* -l mem_free=$0\noption time=* -l h_rt=$0\n",
}
# Long enough for the toys' files, short enough for tests.
QUICK = cluster.Patience(
    files_s=(0.01, 0.02), scheduler_s=(0.02, 0.05), lost_s=0.3, reason_s=0.3, deaf_s=0.4
)


def _without_end(number: int, frame: object) -> None:
    raise TimeoutError("the watch does not end")


class ToyCluster:
    """A kind of cluster on the PATH, and what its programs were called with."""

    def __init__(self, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind = kind
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "account").mkdir()
        (folder / "queue").touch()
        for name, text in _PROGRAMS.items():
            program = folder / "bin" / name
            program.write_text(_HEAD.format(folder=folder) + text)
            program.chmod(0o755)
        self.config = folder / "site.conf"
        self.config.write_text(SITES[kind])
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")

    def says(self, **files: str) -> None:
        """Fills the files by which the programs are told what to do."""
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def arguments(self, *words: str | Path) -> list[str]:
        options = ["--backend", self.kind, "--config", str(self.config)]
        return [*options, *(str(word) for word in words)]

    def run(self, *words: str | Path) -> int:
        """The number of jobs that failed; a watch without end is ended."""
        signal.signal(signal.SIGALRM, _without_end)
        signal.alarm(30)
        try:
            return self._run(words)
        finally:
            signal.alarm(0)

    def _run(self, words: tuple[str | Path, ...]) -> int:
        return cluster.run(parse(self.arguments(*words)), QUICK)

    def calls(self, program: str) -> list[list[str]]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.split("|")[1:] for line in lines if line.split("|")[0] == program]


def qstat_running(task: int, state: str, queue_state: str = "") -> str:
    """What qstat says of a task on a node."""
    return f"""<job_info><queue_info><Queue-List><name>all.q@n1</name><state>{queue_state}</state>
        <job_list state="running"><JB_job_number>7</JB_job_number><state>{state}</state>
        <tasks>{task}</tasks></job_list></Queue-List></queue_info><job_info/></job_info>"""


def qstat_waiting(task: int, state: str) -> str:
    """What qstat says of a task that waits."""
    return f"""<job_info><queue_info/><job_info><job_list state="pending">
        <JB_job_number>7</JB_job_number><state>{state}</state><tasks>{task}</tasks></job_list>
        </job_info></job_info>"""


NOTHING_QUEUED = "<job_info><queue_info/><job_info/></job_info>"
