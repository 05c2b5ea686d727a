"""Checks of a Kaldi data directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from espnet_local.files import read_table
from local.corpora.writer import invert

TABLES = ("wav.scp", "text", "utt2spk", "utt2num_samples")
_LISTED_PROBLEMS = 3


@dataclass(kw_only=True)
class Report:
    """What a check found."""

    folder: Path
    utterances: int = 0
    problems: list[str] = field(default_factory=list)

    def raise_if_bad(self) -> None:
        """
        Raises:
            ValueError: naming the first problems, when there are any.
        """
        if self.problems:
            more = len(self.problems) - _LISTED_PROBLEMS
            tail = f"; and {more} more" if more > 0 else ""
            raise ValueError(f"{self.folder}: {'; '.join(self.problems[:_LISTED_PROBLEMS])}{tail}")


def validate(folder: Path, shown_as: Path | None = None) -> Report:
    """Checks that tables are there, sorted, without duplicates, of the same ids, and audio exists.

    Args:
        folder: the directory.
        shown_as: the name under which wav.scp speaks of it, when that is another.
    """
    report = Report(folder=folder)
    tables = {}
    for name in (*TABLES, "spk2utt"):
        try:
            tables[name] = read_table(folder / name)
        except FileNotFoundError:
            report.problems.append(f"{name} is missing")
        except ValueError as error:
            report.problems.append(str(error))
        else:
            report.problems += _order_problems(name, list(tables[name]))
    if len(tables) < len(TABLES) + 1:
        return report
    report.utterances = len(tables["wav.scp"])
    if not report.utterances:
        report.problems.append("no utterance")
    for name in TABLES[1:]:
        report.problems += _difference("wav.scp", tables["wav.scp"], name, tables[name])
    if tables["spk2utt"] != invert(tables["utt2spk"]):
        report.problems.append("spk2utt is not the inverse of utt2spk")
    report.problems += [
        f"text: {key} is empty" for key, value in tables["text"].items() if not value
    ]
    report.problems += [
        f"utt2num_samples: {key} must have a positive integer, got {value!r}"
        for key, value in tables["utt2num_samples"].items()
        if not (value.isdecimal() and int(value) > 0)
    ]
    report.problems += _missing_audio(tables["wav.scp"], folder, shown_as or folder)
    return report


def _order_problems(name: str, keys: list[str]) -> list[str]:
    for before, after in zip(keys, keys[1:]):
        if after < before:
            return [f"{name} is not sorted: {after} stands after {before}"]
    return []


def _difference(
    first_name: str, first: dict[str, str], second_name: str, second: dict[str, str]
) -> list[str]:
    problems = [
        f"{key} is in {first_name}, not in {second_name}" for key in first.keys() - second.keys()
    ]
    problems += [
        f"{key} is in {second_name}, not in {first_name}" for key in second.keys() - first.keys()
    ]
    return sorted(problems)


def _missing_audio(scp: dict[str, str], folder: Path, shown_as: Path) -> list[str]:
    problems = []
    known: dict[str, bool] = {}  # an archive stands in every line of its utterances
    for key, value in scp.items():
        name = value.rsplit(":", 1)[0] if value.rsplit(":", 1)[-1].isdecimal() else value
        if name not in known:
            path = Path(name)
            if path.is_relative_to(shown_as):
                path = folder / path.relative_to(shown_as)
            known[name] = path.is_file()
        if not known[name]:
            problems.append(f"wav.scp: {key}: no such file {name}")
    return problems
