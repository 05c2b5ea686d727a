"""The reports of several data directories as one table, with the first cases of each check."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.corpora.report import PROBLEMS, REMARKS, Report

LISTED_CHARACTERS = 10


def print_reports(reports: Sequence[Report]) -> None:
    """Prints to stdout: counts for each check and directory, then the first cases."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(reports))
    for report in reports:
        for checks in (PROBLEMS, REMARKS):
            for check in checks:
                if check in report.found:
                    console.print(escape(_cases(report, check)))
        if report.characters:
            console.print(escape(_characters(report)))
    bad = sum(report.count(check) for report in reports for check in PROBLEMS)
    odd = sum(report.count(check) for report in reports for check in REMARKS)
    console.print(
        f"{bad or 'no'} problem{'s' * (bad != 1)}, {odd or 'no'} remark{'s' * (odd != 1)}"
    )


def _table(reports: Sequence[Report]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for report in reports:
        table.add_column(escape(str(report.folder)), justify="right", overflow="fold")
    table.add_row("utterances", *(str(report.utterances) for report in reports))
    table.add_row("hours of audio", *(f"{report.seconds / 3600:.2f}" for report in reports))
    for kind, checks in (("", PROBLEMS), (" (remark)", REMARKS)):
        for check in checks:
            counts = [report.count(check) for report in reports]
            if any(counts):
                table.add_row(check + kind, *(str(count or "-") for count in counts))
    return table


def _cases(report: Report, check: str) -> str:
    found = report.found[check]
    more = found.count - len(found.messages)
    tail = f"; and {more} more" if more else ""
    return f"{report.folder}: {check}: {'; '.join(found.messages)}{tail}"


def _characters(report: Report) -> str:
    commonest = sorted(report.characters.items(), key=lambda item: (-item[1].count, item[0]))
    shown = [
        f"{character} (U+{ord(character):04X}) {found.count} times, first in {found.example}"
        for character, found in commonest[:LISTED_CHARACTERS]
    ]
    more = len(commonest) - len(shown)
    tail = f"; and {more} more" if more else ""
    return f"{report.folder}: characters: {'; '.join(shown)}{tail}"
