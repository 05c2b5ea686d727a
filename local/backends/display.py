"""What the user sees of jobs: progress while they run, and the failed ones by name."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from pathlib import Path

from local.jobs import Job

TAIL_LINES = 15
# How programs say that they were refused memory: Python, C++, torch on the CPU and on GPUs, C.
NO_MEMORY = re.compile(
    r"\bMemoryError\b|std::bad_alloc|can't allocate memory|CUDA out of memory"
    r"|torch\.OutOfMemoryError|Cannot allocate memory"
)


class Display:
    """Shows progress on the terminal in one line that is overwritten, elsewhere line by line."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._open_line = False

    def progress(self, text: str) -> None:
        if not self._is_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)
        self._open_line = True

    def line(self, text: str) -> None:
        self.close()
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the overwritten line, so that what follows starts on its own."""
        if self._open_line:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._open_line = False


class LogReader:
    """Follows a log; it may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown_bytes = 0

    def new_lines(self) -> list[str]:
        """The whole lines that the log has gained since the last call."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._shown_bytes)
                block, newline, _ = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._shown_bytes += len(block) + len(newline)
        return block.decode("utf-8", errors="replace").splitlines()

    def show(self, display: Display) -> None:
        """Passes on what the log has to say to the user."""
        for line in self.new_lines():
            if line.startswith("progress: "):
                display.progress(line.removeprefix("progress: "))
            elif line.startswith("result: "):
                display.line(line.removeprefix("result: "))


def describe_exit(status: int) -> str:
    """A status in words: minus the signal's number when killed, 128 + it where a shell says so."""
    number = -status if status < 0 else status - 128
    killed = ""
    if number in {int(s) for s in signal.Signals}:
        killed = f"killed by {signal.Signals(number).name}"
    if number == signal.SIGKILL:
        killed += ", often the system's answer to memory running out"
    if status < 0:
        return killed
    return f"exit status {status}" + (f", {killed}" if killed else "")


def describe_failure(job: Job, how: str, count: int) -> str:
    """Which job failed, how, and the end of its log; one line for an error that is one line."""
    which = f"job {job.number} of {count}" if count > 1 else "the job"
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return f"submit.py: {which} failed ({how}); it left no log ({job.log})"
    body = [line for line in lines if not line.startswith("#")][-TAIL_LINES:]
    if body and ": error: " in body[-1] and re.fullmatch(r"exit status \d+", how):
        which = f"job {job.number}: " if count > 1 else ""
        return f"{which}{body[-1]} (log: {job.log})"
    if "memory" not in how and any(NO_MEMORY.search(line) for line in body):
        how += ", out of memory"
    return "\n".join([f"submit.py: {which} failed ({how}); the end of {job.log}:", *body])
