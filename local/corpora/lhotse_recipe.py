"""lhotse's recipes by name: what they are called and take, found without importing lhotse.

Importing lhotse takes seconds (it brings torch); its source says as much as a check needs.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import logging
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from espnet_local.cli import one_line
from espnet_local.config import nearest
from espnet_local.files import fingerprint
from espnet_local.stamp import clear_stamp, is_done, write_stamp
from local.corpora.tree import dated, files_below

log = logging.getLogger(__name__)
WANTED = {"corpus_dir", "output_dir"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LhotseRecipe:
    """A recipe of lhotse on a corpus.

    Raises:
        FileNotFoundError: when the corpus is not there.
        ValueError: for an unknown recipe, or one that takes more than a folder.
    """

    name: str
    corpus_dir: Path

    def __post_init__(self) -> None:
        modules = _modules()
        if self.name not in modules:
            folder = Path(self.name)
            hint = nearest(self.name, modules)
            if folder.is_dir():
                hint = f"; for the folder of that name write lhotse:./{folder}"
            raise ValueError(f"lhotse has no recipe {self.name!r}{hint}")
        arguments, required = _arguments(modules[self.name], f"prepare_{self.name}")
        if not arguments >= WANTED >= required:
            raise ValueError(
                f"lhotse's recipe {self.name!r} needs {', '.join(sorted(required)) or 'more'}, "
                "not just corpus_dir and output_dir: run it yourself, then take its folder of "
                "manifests with lhotse:<folder>"
            )
        if not self.corpus_dir.is_dir():
            raise FileNotFoundError(2, "corpus_dir is no folder", str(self.corpus_dir))

    def identity(self) -> dict[str, object]:
        """What the manifests depend on."""
        return {
            "recipe": self.name,
            "lhotse": metadata.version("lhotse"),
            "corpus_dir": str(self.corpus_dir.resolve()),
            "files": tree_state(self.corpus_dir),
        }

    def make(self, folder: Path, nj: int) -> None:
        """Runs the recipe into a folder, unless that holds its manifests of the same files.

        Raises:
            ValueError: when the recipe fails, with its reason.
        """
        wanted = fingerprint(self.identity())
        if is_done(folder, wanted):
            log.info("unchanged, skipped: lhotse's manifests in %s", folder)
            return
        from lhotse import recipes

        clear_stamp(folder)
        shutil.rmtree(folder, ignore_errors=True)  # recipes would go on with half a manifest
        folder.mkdir(parents=True)
        prepare = getattr(recipes, f"prepare_{self.name}")
        more = {"num_jobs": nj} if "num_jobs" in inspect.signature(prepare).parameters else {}
        log.info("lhotse's recipe %s on %s", self.name, self.corpus_dir)
        try:
            prepare(corpus_dir=self.corpus_dir.resolve(), output_dir=folder, **more)
        except Exception as error:  # recipes fail with all kinds, asserts included
            raise ValueError(
                f"lhotse's recipe {self.name!r} fails on {self.corpus_dir}: "
                f"{type(error).__name__} {one_line(error)}"
            ) from error
        write_stamp(folder, wanted)


def tree_state(folder: Path) -> str:
    """A fingerprint of the files under a folder: names, sizes and dates."""
    return fingerprint([[str(p.relative_to(folder)), dated(p)] for p in files_below(folder)])


def _modules() -> dict[str, Path]:
    """The module of each recipe that `lhotse.recipes` offers."""
    spec = importlib.util.find_spec("lhotse")
    if spec is None or spec.origin is None:
        raise ValueError("lhotse is not installed: pip install lhotse")
    folder = Path(spec.origin).parent / "recipes"
    return {
        alias.name.removeprefix("prepare_"): folder / f"{node.module}.py"
        for node in _parse(folder / "__init__.py").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("prepare_")
    }


def _arguments(path: Path, function: str) -> tuple[set[str], set[str]]:
    """The names of a function's arguments, and of those without a default."""
    for node in _parse(path).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
            required = names[: len(names) - len(node.args.defaults)]
            required += [
                argument.arg
                for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults)
                if default is None
            ]
            return {*names, *(argument.arg for argument in node.args.kwonlyargs)}, set(required)
    return set(), set()


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
