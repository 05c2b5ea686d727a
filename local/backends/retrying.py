"""Failed jobs, and they alone, are run again as often as --retries says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from local.backends.display import Display
from local.jobs import Job

RunOnce = Callable[[Sequence[Job]], Sequence[Job]]  # runs jobs, returns those that failed


def run_with_retries(jobs: Sequence[Job], retries: int, run_once: RunOnce, display: Display) -> int:
    """Runs all jobs; a job that is run again finds its log moved aside.

    Returns:
        the number of jobs that failed in the end.
    """
    failed = run_once(jobs)
    for attempt in range(1, retries + 1):
        for job in failed:
            kept = job.log.with_name(f"{job.log.name}.{attempt}")
            if job.log.exists():
                job.log.replace(kept)
            display.line(
                f"submit.py: job {job.number} is run again ({attempt} of {retries} times at most); "
                f"its log is kept: {kept}"
            )
        if failed:
            failed = run_once(failed)
    return len(failed)
