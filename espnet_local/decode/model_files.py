"""Where the files of a model lie.

    exp/<tag>/stage5b   the folder of a sub-stage: config.yaml, bpe.model, a checkpoint
    model.zip           what ESPnet's packing makes of one: meta.yaml names config and weights
    a folder            what ESPnet's unpacking makes of that

The token model lies beside the config. Nothing is extracted, and no ESPnet is imported.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from espnet_local.config import BEST_CHECKPOINT, parse_yaml
from espnet_local.tokens import MODEL_NAME

CONFIG_NAME, META_NAME = "config.yaml", "meta.yaml"
# Where meta.yaml names a file: the parameters of ESPnet's Speech2Text.
CONFIG_KEY, WEIGHTS_KEY = ("yaml_files", "asr_train_config"), ("files", "asr_model_file")

# What zipfile raises for bytes that are no zip, or not a whole one.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a folder or in a zip."""

    name: str  # for messages
    open: Callable[[], IO[bytes]]  # at its beginning, seekable

    def read(self) -> bytes:
        """All of it."""
        with self.open() as stream:
            return stream.read()


class ModelFiles(NamedTuple):
    """What a model is read from."""

    config: StoredFile
    bpe_model: StoredFile
    weights: StoredFile


def find_model(place: str | Path, checkpoint: str | None = None) -> ModelFiles:
    """Finds the files of a model; they are opened later.

    Args:
        place: a sub-stage's folder, a packed file, or a folder that ESPnet unpacked from one.
        checkpoint: a file in a sub-stage's folder, None for the best one. Of a packed model, the
            name of its weights.

    Raises:
        FileNotFoundError: when there is no such packed file.
        ValueError: naming file and member, for a packed file that is damaged or of another kind.
    """
    place = Path(place)
    packed = place.is_file() or (place.suffix == ".zip" and not place.is_dir())
    store = _in_zip if packed else _in_folder
    meta = store(place, META_NAME)
    if not packed and not (place / META_NAME).exists():
        names = (CONFIG_NAME, MODEL_NAME, checkpoint or BEST_CHECKPOINT)
        return ModelFiles(*(store(place, name) for name in names))
    names_by_key = parse_yaml(meta.read(), meta.name)
    config, weights = (_named(names_by_key, key, meta.name) for key in (CONFIG_KEY, WEIGHTS_KEY))
    if checkpoint not in (None, PurePosixPath(weights).name):
        raise ValueError(f"{place}: checkpoint {checkpoint!r} is not in it, only {weights!r}")
    bpe_model = str(PurePosixPath(config).with_name(MODEL_NAME))
    return ModelFiles(*(store(place, name) for name in (config, bpe_model, weights)))


def _named(meta: dict[str, Any], key: tuple[str, str], where: str) -> str:
    group = meta.get(key[0])
    name = group.get(key[1]) if isinstance(group, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: {'.'.join(key)} must name a file, got {name!r}")
    return name


def _in_folder(folder: Path, name: str) -> StoredFile:
    return StoredFile(str(folder / name), lambda: (folder / name).open("rb"))


def _in_zip(path: Path, member: str) -> StoredFile:
    where = f"{path}: {member}"

    def read() -> IO[bytes]:
        try:
            archive = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise ValueError(f"{path}: not a packed model: {error}") from None
        with archive:
            if member not in archive.namelist():
                raise ValueError(f"{where}: no such member: damaged, or no packed model")
            try:
                return BytesIO(archive.read(member))
            except _DAMAGED as error:
                raise ValueError(f"{where}: damaged: {error}") from None

    return StoredFile(where, read)
