"""Writes STATISTICS.md and lengths.png of a prepared corpus.

    python -m local.corpus_statistics --data data/mini --tokens data/mini/token_list/char

Tables are read a line at a time; what grows is the vocabulary.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from espnet_local.cli import log_to_stderr, run
from espnet_local.config import SAMPLE_RATE
from espnet_local.files import fingerprint, iter_table, write_text
from espnet_local.stamp import clear_stamp, is_done, write_stamp
from espnet_local.tokens import LIST_NAME, MODEL_NAME, Tokenizer
from local.arguments import ArgumentParser
from local.corpora.utterance import SETS, kind_of_reason
from local.corpora.workers import batches
from local.tokens import TEXTS_PER_BATCH, texts_with_lengths

log = logging.getLogger(__name__)
VERSION = 1  # raise it when page or picture change with unchanged input
PAGE_NAME, PICTURE_NAME, STAMP_FOLDER = "STATISTICS.md", "lengths.png", ".statistics"
BINS_PER_S = 100  # of the lengths that are kept: percentiles are exact to 10 ms


@dataclass(kw_only=True)
class Exclusions:
    """Utterances that were left out for reasons of one kind."""

    count: int = 0
    example: str  # `<utterance>: <reason>`


@dataclass(kw_only=True)
class SetStatistics:
    """What a set holds."""

    name: str
    utterances: int = 0
    speakers: int = 0
    samples: int = 0  # at 16 kHz
    tokens: int = 0
    unknown_tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)  # utterances, by 10 ms
    characters: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    excluded: dict[str, Exclusions] = field(default_factory=dict)  # by kind of reason

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.samples / SAMPLE_RATE

    def length_s(self, percent: float) -> float:
        """A percentile of the utterances' lengths, in seconds, to 10 ms."""
        wanted = max(1, round(percent / 100 * self.utterances))
        below = 0
        for length, count in sorted(self.lengths.items()):
            below += count
            if below >= wanted:
                return length / BINS_PER_S
        return 0.0


def main(arguments: list[str] | None = None) -> None:
    """Parses the options and makes page and picture unless they are done."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    data, tokens = options.data, options.tokens
    names = [name for name in SETS if (data / name).is_dir()]
    stamp = data / STAMP_FOLDER
    wanted = _fingerprint(data, tokens, names)
    there = all((data / name).exists() for name in (PAGE_NAME, PICTURE_NAME))
    if there and is_done(stamp, wanted):
        log.info("unchanged, skipped: %s", data / PAGE_NAME)
        return
    tokenizer = Tokenizer.from_dir(tokens)
    sets = [collect(tokenizer, data / name, tokens / f"{name}_excluded.tsv") for name in names]
    # These are only needed now, and matplotlib takes a second to import.
    from local.lengths_picture import draw_lengths
    from local.statistics_page import page

    clear_stamp(stamp)
    draw_lengths(sets, data / PICTURE_NAME)
    write_text(data / PAGE_NAME, page(data.name, sets, str(tokens), len(tokenizer.tokens)))
    write_stamp(stamp, wanted)
    log.info("%s", data / PAGE_NAME)


def collect(tokenizer: Tokenizer, folder: Path, too_many_tokens: Path) -> SetStatistics:
    """Reads one set.

    Args:
        tokenizer: whose tokens are counted.
        folder: a data directory made by this project.
        too_many_tokens: the list of what stage 0 left out; it may be missing.

    Raises:
        FileNotFoundError, ValueError: naming a table that is missing or ill-formed.
    """
    found = SetStatistics(name=folder.name)
    for batch in batches(texts_with_lengths(folder), TEXTS_PER_BATCH):
        for (_, text, samples), ids in zip(batch, tokenizer.encode_all([b[1] for b in batch])):
            found.samples += samples
            found.lengths[samples * BINS_PER_S // SAMPLE_RATE] += 1
            found.tokens += len(ids)
            found.unknown_tokens += ids.count(tokenizer.unknown_id)
            words = text.split()
            found.words.update(words)
            found.characters.update("".join(words))
        found.utterances += len(batch)
    if not found.utterances:
        raise ValueError(f"{folder}: no utterance to count")
    found.speakers = sum(1 for _ in iter_table(folder / "spk2utt"))
    for path in (folder / "excluded.tsv", too_many_tokens):
        if path.exists():
            _read_excluded(path, found.excluded)
    return found


def _read_excluded(path: Path, excluded: dict[str, Exclusions]) -> None:
    with path.open(encoding="utf-8") as stream:
        next(stream, None)  # the head line
        for line in stream:
            utterance, _, reason = line.rstrip("\n").partition("\t")
            kind = kind_of_reason(reason)
            excluded.setdefault(kind, Exclusions(example=f"{utterance}: {reason}")).count += 1


def _fingerprint(data: Path, tokens: Path, names: Iterable[str]) -> str:
    files = [tokens / MODEL_NAME, tokens / LIST_NAME]
    for name in names:
        files += [data / name / table for table in ("text", "utt2num_samples", "spk2utt")]
        lists = (data / name / "excluded.tsv", tokens / f"{name}_excluded.tsv")
        files += [path for path in lists if path.exists()]
    return fingerprint([VERSION, *map(str, files)], files)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m local.corpus_statistics", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--data", required=True, type=_corpus, help="folder with train, dev and test")
    add("--tokens", required=True, type=Path, help="folder of the model and the list")
    return parser


def _corpus(value: str) -> Path:
    if not (Path(value) / "train").is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {value}/train")
    return Path(value)


if __name__ == "__main__":
    run(main)
