"""What the command-line programs share: logs to stderr with a time, errors in one line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends log records to stderr, one line each with a time; results go to stdout."""
    logging.basicConfig(level=level, format=LOG_FORMAT, datefmt="%Y-%m-%d %H:%M:%S", force=True)


def run(main: Callable[[], None]) -> None:
    """Runs a program's `main` and turns the user's mistakes into one line and exit status 1.

    `ValueError` and `OSError` are the user's (input, options, files); anything else is ours and
    keeps its traceback. `XLSR_TRACEBACK=1` shows the traceback of those too.
    """
    try:
        main()
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): stop quietly, as other filters do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError) as error:
        if os.environ.get("XLSR_TRACEBACK"):
            raise
        print(f"{_program()}: error: {one_line(error)}", file=sys.stderr)
        sys.exit(1)


def _program() -> str:
    """`local.corpora` for `python -m local.corpora`, else the script's name."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:
        return os.path.basename(sys.argv[0])
    return spec.name.removesuffix(".__main__")


def recipe_call() -> str:
    """The user's call of run.sh without its stages, for hints on what to run."""
    return os.environ.get("XLSR_CALL", "./run.sh")


def one_line(error: Exception) -> str:
    """An error's message in one line; of a file, the reason and then its name."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split())
