#!/usr/bin/env python3
"""Runs job arrays in the calling convention of Kaldi's run.pl (see jobs.py).

--backend chooses where: local (this machine), slurm or sge (GridEngine). On this machine as many
jobs run at once as there are cores (--num-threads each), GPUs (--gpu each) and memory (--mem
each); --time is for clusters and has no effect here. Output goes to the logs; lines of a log that
start with "progress: " or "result: " are shown as they come. Exit status 1 when any job failed,
each named with the end of its log; the jobs end when this program is ended.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

sys.path[0] = str(Path(__file__).resolve().parents[1])
from local.backends import cluster, machine  # noqa: E402
from local.jobs import parse  # noqa: E402


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    for number in cluster.ENDING_SIGNALS:
        signal.signal(number, _end)
    try:
        array = parse(sys.argv[1:])
        run = machine.run if array.resources.backend == "local" else cluster.run
        failures = run(array)
    except (ValueError, OSError) as error:
        print(f"submit.py: error: {error}", file=sys.stderr)
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
