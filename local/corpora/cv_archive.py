"""Common Voice as it is downloaded: the TSVs and the clips they list, taken out of a tar.

    <release>/<language>/{train,dev,test,validated,...}.tsv     and clips/*.mp3

Releases before 4 have no folders above the TSVs. A tar of 100 GB is read twice, since its clips
come before the TSVs that say which ones are needed; what a killed run took out stays.
"""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from espnet_local.files import fingerprint, write_text
from espnet_local.stamp import clear_stamp, is_done, write_stamp

log = logging.getLogger(__name__)
SUFFIXES = (".tar", ".tar.gz", ".tgz")
BEGUN_NAME = "of.txt"  # says from what the folder is being filled
PROGRESS_CLIPS = 20_000


def check_archive(path: Path, language: str) -> None:
    """Looks at the beginning of a tar, which tells its language.

    Raises:
        ValueError: when it is no tar, or of another language.
    """
    with _opened(path) as archive:
        member = next(_files(archive), None)
    parents = [name for name in member.parents if name != "clips"] if member else []
    if parents and language not in parents:
        raise ValueError(f"{path} holds {'/'.join(parents)}, not the language {language!r}")


def extract(
    path: Path,
    folder: Path,
    *,
    language: str,
    tables: tuple[str, ...],
    clips: Callable[[], set[str]],
    chosen_by: str,
) -> None:
    """Takes TSVs and clips out of a tar, once; goes on where it was killed.

    Args:
        path: the tar.
        folder: gets <table>.tsv and clips/; emptied first when it is of another tar.
        language: whose folder of the tar.
        tables: such as `train`.
        clips: asked for the names of the clips when the TSVs are there.
        chosen_by: what the choice of clips depends on, the tar included.

    Raises:
        ValueError: when the tar is cut, damaged, or lacks a table.
    """
    if is_done(folder, chosen_by):
        log.info("unchanged, skipped: %s taken out of %s", folder, path)
        return
    status, begun = path.stat(), folder / BEGUN_NAME
    of = fingerprint([str(path.resolve()), status.st_size, status.st_mtime_ns, language])
    if not begun.exists() or begun.read_text(encoding="utf-8") != of:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(begun, of)
    clear_stamp(folder)
    (folder / "clips").mkdir(exist_ok=True)
    log.info("taking %s and their clips out of %s", ", ".join(tables), path)
    wanted = {f"{table}.tsv" for table in tables}
    _take(path, {name: folder / name for name in wanted}, language, ())
    if missing := sorted(name for name in wanted if not (folder / name).exists()):
        raise ValueError(f"{path} holds no {', '.join(missing)} of the language {language!r}")
    _take(path, {name: folder / "clips" / name for name in clips()}, language, ("clips",))
    write_stamp(folder, chosen_by)


def _take(path: Path, places: Mapping[str, Path], language: str, within: tuple[str, ...]) -> None:
    """Writes the members whose base names have a place; each appears there when complete.

    Those `within` a folder of the language's own, that is: a tar may hold copies in others.
    """
    count = 0
    with _opened(path) as archive:
        for member in _files(archive):
            file = places.get(member.name)
            above = member.parents[: len(member.parents) - len(within)]
            in_place = above + within == member.parents and above[-1:] in ((), (language,))
            if file is None or not in_place:
                continue
            if file.exists() and file.stat().st_size == member.info.size:
                continue
            stream = archive.extractfile(member.info)
            partial = file.with_name(f".{file.name}.part")
            with partial.open("wb") as copy:
                shutil.copyfileobj(stream, copy)
            os.replace(partial, file)
            count += 1
            if count % PROGRESS_CLIPS == 0:
                log.info("%d files taken out of %s", count, path)


class _Member(NamedTuple):
    info: tarfile.TarInfo
    parents: tuple[str, ...]
    name: str


def _files(archive: tarfile.TarFile) -> Iterator[_Member]:
    """The plain files of a tar, in its order.

    Raises:
        tarfile.ReadError: for a tar that does not go on to its proper end.
        tarfile.FilterError: for one whose name leads out of the folder.
    """
    while (info := archive.next()) is not None:
        archive.members = []  # it keeps all: gigabytes for the large languages
        if info.isfile():
            # Names of files here are our own, so that this is only a second lock.
            *parents, name = PurePosixPath(tarfile.data_filter(info, ".").name).parts
            yield _Member(info, tuple(parents), name)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("no end mark")
    while archive.fileobj.read(1 << 20):  # gzip checks its sum at the end
        pass


class _Header(tarfile.TarInfo):
    """A header that is not there, or damaged, ends the reading with an error, not in silence."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise  # the first of two blocks of zeros, the end of a tar
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:*", tarinfo=_Header) as archive:
            yield archive
    except tarfile.FilterError as error:
        raise ValueError(f"{path}: {error}") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        # gzip says "not a gzipped file" and "CRC check failed" as OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} is cut or no tar: {error}; download it again") from None
