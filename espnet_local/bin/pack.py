"""Packs a finished sub-stage into one file to share, with a model card.

    python -m espnet_local.bin.pack --model exp/mini_tiny/stage5b --output model.zip

The recognizer reads the file as it is; ESPnet's `unpack` and `Speech2Text` read it too.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from espnet_local.cli import log_to_stderr, run
from espnet_local.sharing.card import UNKNOWN_LICENCE
from espnet_local.sharing.pack import pack_model

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, packs, and prints the file's name."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    folder = Path(os.path.abspath(options.model))  # the folder may be called `.` or `..`
    # Beside the sub-stage, under a name that tells it elsewhere too.
    output = options.output or folder.with_name(f"{folder.parent.name}_{folder.name}.zip")
    pack_model(folder, output, options.licence, options.force)
    log.info("%s: %.1f MB", output, output.stat().st_size / 1e6)
    print(output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="DIR", help="a sub-stage's folder")
    add("--output", type=Path, help="exp/<tag>/<tag>_<sub-stage>.zip when not given")
    add("--licence", default=UNKNOWN_LICENCE, help="of the model, such as apache-2.0")
    add("--force", action="store_true", help="replace a file of that name")
    return parser


if __name__ == "__main__":
    run(main)
