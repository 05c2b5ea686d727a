"""Scores everything decoded of an experiment.

    python -m espnet_local.bin.score --expdir exp/mini_tiny --data data/mini --sets test

Writes `results.tsv` and `RESULTS.md` into the experiment's folder, `.trn` files beside each
hypothesis, and the table to stdout. Takes about a second, so it is never skipped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from espnet_local.cli import log_to_stderr, run
from espnet_local.results import collect, write_results

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, scores, writes and prints."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    rows = collect(options.expdir, options.data, options.sets)
    print(write_results(options.expdir, rows), end="")
    log.info("%d rows in %s", len(rows), options.expdir / "results.tsv")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--expdir", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>")
    parser.add_argument("--sets", nargs="+", required=True, help="folders in it, e.g. test")
    return parser


if __name__ == "__main__":
    run(main)
