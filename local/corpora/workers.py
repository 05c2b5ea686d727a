"""Parallel work whose results do not depend on the number of processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def batches(items: Iterable[Task], size: int) -> Iterator[list[Task]]:
    """Cuts items into lists of `size`, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def ordered_map(
    work: Callable[[Task], list[Result]], tasks: Iterable[Task], nj: int
) -> Iterator[Result]:
    """Runs `work` on each task in a process of its own, `nj` at a time, results in order.

    A process serves one task and ends, so that whatever state a C library keeps cannot carry over
    from one task to the next: the results are the same for every `nj`. A process that dies (out of
    memory, an import that fails) is an error here; `multiprocessing.Pool` would wait forever.

    Args:
        work: a top-level function from a task to a list of results.
        tasks: batches of work, each worth the start of a process (about half a second); taken
            when their turn comes.
        nj: processes at a time, >= 1.

    Raises:
        ValueError: when nj < 1. An exception in `work` is raised here.
        ChildProcessError: when a process ends without a result.
    """
    if nj < 1:
        raise ValueError(f"nj must be >= 1, got {nj}")
    # "spawn": a forked child would inherit the parent's library state and locks.
    context = multiprocessing.get_context("spawn")
    waiting = iter(tasks)
    running: deque[tuple[BaseProcess, Connection]] = deque()

    def start_some() -> None:
        for task in islice(waiting, nj - len(running)):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(work, task, sender))
            process.start()
            sender.close()  # the child holds the only other end: its death is an end of file
            running.append((process, receiver))

    try:
        start_some()
        while running:
            results = _result(*running[0])
            running.popleft()
            start_some()  # before the caller takes its time with the results
            yield from results
    finally:
        for process, _ in running:
            process.terminate()


def _result(process: BaseProcess, receiver: Connection) -> Any:
    try:
        value = receiver.recv()
    except EOFError:
        process.join()
        raise ChildProcessError(
            f"a worker process died with status {process.exitcode} (-9: killed, often for memory)"
        ) from None
    process.join()
    if isinstance(value, Exception):
        raise value
    return value


def _serve(work: Callable[[Any], Any], task: Any, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent ends us and says why
    try:
        value = work(task)
    except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
        value = error
    sender.send(value)
