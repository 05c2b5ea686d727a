"""Command-line options that are never abbreviated, and hints for misspelt ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from espnet_local.config import nearest


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse` parser whose error for an unknown option names the nearest known one.

    Mistakes in the command line end the program with one line and exit status 2.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parses arguments; an unknown option is an error before a missing one is."""
        args = sys.argv[1:] if args is None else list(args)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in args:
            name = word.split("=")[0]
            if name.startswith("--") and name not in known:
                self.error(f"unknown option {name!r}{nearest(name, known)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> Any:
        """Prints one line to stderr and exits with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")
