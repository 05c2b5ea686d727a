"""Checks Kaldi data directories, ours or a user's own.

    python -m local.validate_data data/mini/train data/mini/dev data/mini/test

Tables: there, sorted, unique, of the same ids, UTF-8. Audio: each file or archive entry is opened,
and header and end are held against utt2num_samples and segments; --decode reads all of it, at seven
times the cost. A table with what was found goes to stdout. The exit status is 1 when there is a
problem; remarks alone leave it 0.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from espnet_local.cli import log_to_stderr, run
from espnet_local.files import atomic_open
from local.arguments import ArgumentParser
from local.corpora.report import PROBLEMS, REMARKS, Report

if TYPE_CHECKING:
    from espnet_local.tokens import Tokenizer
    from local.corpora.validate import Recording

# A task is worth the start of a process: a header takes 0.15 ms, decoding 5 s of FLAC 1.3 ms.
UTTERANCES_PER_TASK = {False: 5_000, True: 500}  # by --decode


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, checks the directories and prints the table."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.nj < 1:
        parser.error(f"nj must be >= 1, got {options.nj}")
    if options.list and options.list.is_dir():
        parser.error(f"list must be a file, {options.list} is a folder")
    log_to_stderr()
    for folder in options.folders:
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(folder))
    with ExitStack() as stack:
        listen = stack.enter_context(Listing(options.list)).add if options.list else None
        reports = check_all(options, listen)
    # Loaded here: nothing before needs it.
    from local.report_table import print_reports

    print_reports(reports)
    if any(report.problems for report in reports):
        sys.exit(1)


def check_all(
    options: argparse.Namespace, listen: Callable[[Path, str, str], None] | None
) -> list[Report]:
    """One report a directory, in their order."""
    # These bring numpy, soundfile and sentencepiece: a mistake in the call does not wait for them.
    from espnet_local.tokens import Tokenizer
    from local.corpora.validate import shared

    tokenizer = Tokenizer.from_dir(options.tokens) if options.tokens else None
    expected = None
    if options.characters:
        try:
            expected = set(options.characters.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{options.characters}: not UTF-8: {error.reason}") from None
    reports = []
    for folder in options.folders:
        report = Report(folder=folder, listen=partial(listen, folder) if listen else None)
        seen = check_folder(
            report, tokenizer=tokenizer, expected=expected, nj=options.nj, decode=options.decode
        )
        if expected is None and seen:  # none are seen where a table is missing
            expected = seen
        reports.append(report)
    for number, key, message in shared(options.folders if len(reports) > 1 else []):
        reports[number].add("shared", key, message)
    return reports


def check_folder(
    report: Report, *, tokenizer: Tokenizer | None, expected: set[str] | None, nj: int, decode: bool
) -> set[str]:
    """Checks one directory.

    Args:
        report: names the directory, takes in what is found.
        tokenizer: finds utterances with more tokens than frames.
        expected: characters; None expects all.
        nj: processes.
        decode: decode all of the audio.

    Returns:
        The characters of the transcripts.
    """
    from local.corpora.contents import check_audio, check_characters, count_tokens
    from local.corpora.validate import open_tables, recordings, walk
    from local.corpora.workers import ordered_map

    seen: set[str] = set()
    tables = open_tables(report)
    transcripts = check_characters(report, walk(report, tables), expected, seen)
    count = partial(count_tokens, tokenizer) if tokenizer else None
    tasks = _tasks(recordings(report, tables, transcripts, count), UTTERANCES_PER_TASK[decode])
    check = partial(check_audio, decode=decode)
    outcomes = chain.from_iterable(map(check, tasks)) if nj == 1 else ordered_map(check, tasks, nj)
    done = 0
    for outcome in outcomes:
        for finding in outcome.findings:
            report.add(*finding)
        report.seconds += outcome.seconds
        done += outcome.recordings
        print(f"progress: {report.folder}: audio of {done} recordings", file=sys.stderr)
    return seen


def _tasks(recordings: Iterable[Recording], utterances: int) -> Iterator[list[Recording]]:
    """Recordings in tasks of so many utterances, or a few more."""
    task: list[Recording] = []
    count = 0
    for recording in recordings:
        task.append(recording)
        count += len(recording.pieces)
        if count >= utterances:
            yield task
            task, count = [], 0
    if task:
        yield task


class Listing:
    """Everything that was found, as a TSV file sorted by utterance.

    The lines wait on disk: the order in which they come depends on the number of processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Listing:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lines = TemporaryFile("w+", encoding="utf-8", newline="\n")
        return self

    def add(self, folder: Path, key: str, message: str) -> None:
        """Takes in one line."""
        from local.corpora.utterance import Exclusion

        self._lines.write(Exclusion(id=key, reason=f"{folder}: {message}").line() + "\n")

    def __exit__(self, kind: object, *_: object) -> None:
        from local.corpora.sorting import sorted_lines

        with self._lines:
            if kind is not None:
                return
            self._lines.seek(0)
            with atomic_open(self._path) as stream:
                stream.write("utterance\treason\n")
                for line in sorted_lines(line[:-1] for line in self._lines):
                    stream.write(line + "\n")


def _parser() -> ArgumentParser:
    listed = (
        f"{title}\n" + "\n".join(f"  {name:22} {meaning}" for name, meaning in checks.items())
        for title, checks in (("problems (exit status 1):", PROBLEMS), ("remarks:", REMARKS))
    )
    parser = ArgumentParser(
        prog="python -m local.validate_data",
        description=__doc__,
        epilog="\n\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="DIR", help="Kaldi data directory")
    add("--tokens", type=Path, help="token folder: find what has more tokens than frames")
    add("--characters", type=Path, help="text file with all expected characters")
    add("--decode", action="store_true", help="decode all audio, not only headers and ends")
    add("--nj", type=int, default=1, help="processes; the result does not depend on it")
    add("--list", type=Path, help="TSV file that gets everything found: utterance, reason")
    return parser


if __name__ == "__main__":
    run(main)
