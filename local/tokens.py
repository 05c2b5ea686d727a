"""Trains tokens and counts them in the data.

    python -m local.tokens --text data/mini/train/text --type unigram --vocab_size 80 \
        --output data/mini/token_list/unigram_80 --sets data/mini/train data/mini/dev

Writes into the output folder:
    bpe.model tokens.txt   SentencePiece model and ESPnet token list
    <set>_text_shape       `<utterance> <tokens>,<vocabulary>`, ESPnet's shape file
    <set>_excluded.tsv     utterances with more tokens than the encoder has frames for
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from espnet_local.cli import log_to_stderr, run
from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES, nearest
from espnet_local.files import (
    atomic_open,
    fingerprint,
    iter_table,
    join_rows,
    sorted_rows,
    write_text,
)
from espnet_local.stamp import clear_stamp, is_done, read_stamp, write_stamp
from espnet_local.tokens import LIST_NAME, MODEL_NAME, Tokenizer, token_list
from local.arguments import ArgumentParser
from local.corpora.workers import batches

log = logging.getLogger(__name__)
TYPES = ("unigram", "bpe", "char")
CONTROL_TOKENS = 3  # <unk>, <s> and </s>, which SentencePiece counts in its vocabulary
ALL_CHARACTERS = 100_000  # a vocabulary of characters has no limit of its own
MOST_TEXTS = 200_000  # to train on: SentencePiece takes 2.5 kB of memory for each (unigram)
TEXTS_PER_BATCH = 1_000


def main(arguments: list[str] | None = None) -> None:
    """Parses the options and makes tokens unless they are done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.type not in TYPES:
        parser.error(
            f"type must be one of {', '.join(TYPES)}, got {options.type!r}"
            f"{nearest(options.type, TYPES)}"
        )
    log_to_stderr()
    wanted = _fingerprint(options)
    names = [MODEL_NAME, LIST_NAME, *(f"{folder.name}_text_shape" for folder in options.sets)]
    there = all((options.output / name).exists() for name in names)
    if there and is_done(options.output, wanted):
        log.info("unchanged, skipped: %s", (read_stamp(options.output) or {})["summary"])
        return
    model = (
        _reused(options.reuse)
        if options.reuse
        else train(Transcripts(options.text), options.type, options.vocab_size, str(options.text))
    )
    clear_stamp(options.output)
    tokenizer = write_tokens(model, options.output)
    for folder in options.sets:
        count_set(tokenizer, folder, options.output)
    if not options.reuse and options.type != "char" and len(tokenizer.tokens) < options.vocab_size:
        log.warning(
            "%s: asked for %d tokens, got %d: there is no more in %s",
            options.output, options.vocab_size, len(tokenizer.tokens), options.text,
        )  # fmt: skip
    summary = f"{len(tokenizer.tokens)} {options.type} tokens in {options.output}"
    log.info("%s", summary)
    write_stamp(options.output, wanted, summary=summary)


class Transcripts:
    """The transcripts of a Kaldi text file, read anew each time they are walked.

    Raises:
        ValueError: when there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not any(self):
            raise ValueError(f"{path}: no transcript to train tokens on")

    def __iter__(self) -> Iterator[str]:
        return (text for _, _, text in iter_table(self._path) if text)


def train(texts: Iterable[str], kind: str, vocab_size: int, name: str) -> bytes:
    """Trains a SentencePiece model, the same for the same texts.

    SentencePiece keeps its texts in memory: of more than `MOST_TEXTS` it gets that many, evenly
    spread, and enough others for every character to have its place in the model.

    Args:
        texts: transcripts; walked twice.
        kind: "unigram", "bpe" or "char".
        vocab_size: tokens; a text with too little in it gets fewer. Of no effect for "char".
        name: of the text, for messages.

    Returns:
        The model in its serialised form.

    Raises:
        ValueError: when vocab_size cannot hold the characters of the texts.
    """
    # Loaded here: a run that skips does without it.
    import sentencepiece

    characters: set[str] = set()
    total = 0
    for text in texts:
        characters.update(text)
        total += 1
    characters = {character for character in characters if not character.isspace()}
    least = len(characters) + 1 + CONTROL_TOKENS  # 1: the word boundary
    if kind == "char":
        vocab_size = ALL_CHARACTERS
    elif vocab_size < least:
        raise ValueError(
            f"vocab_size must be >= {least} for the {len(characters)} characters in {name}, "
            f"got {vocab_size}"
        )
    model = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts if total <= MOST_TEXTS else _spread(texts, total)),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            # Transcripts are scored as they are written: nothing may be rewritten here.
            normalization_rule_name="identity",
            num_threads=1,  # with more, the order of sums differs from run to run
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"SentencePiece on {name}: {' '.join(str(error).split())}") from None
    return model.getvalue()


def _spread(texts: Iterable[str], total: int) -> Iterator[str]:
    """`MOST_TEXTS` of `total` texts at even distances, and any with a character not met so far.

    At even distances, because neighbours are of one speaker.
    """
    seen: set[str] = set()
    for number, text in enumerate(texts):
        is_due = number * MOST_TEXTS // total < (number + 1) * MOST_TEXTS // total
        if is_due or not seen.issuperset(text):
            seen.update(text)
            yield text


def write_tokens(model: bytes, output: Path) -> Tokenizer:
    """Writes model and token list into a folder and returns their tokenizer."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer = Tokenizer(model, token_list(processor), str(output))
    with atomic_open(output / MODEL_NAME, "wb") as stream:
        stream.write(model)
    write_text(output / LIST_NAME, "".join(f"{token}\n" for token in tokenizer.tokens))
    return tokenizer


def encoder_frames(samples: int) -> int:
    """Frames that the encoder makes of an utterance."""
    return max(0, (samples - RECEPTIVE_SAMPLES) // HOP_SAMPLES + 1)


def reason_against_tokens(tokens: int, samples: int) -> str | None:
    """Why an utterance with so many tokens cannot be trained on, or None when it can."""
    frames = encoder_frames(samples)
    # One more than tokens: at most one is emitted a frame, and the last frame emits blank.
    return f"{tokens} tokens, {frames} frames of audio" if tokens + 1 > frames else None


def count_set(tokenizer: Tokenizer, folder: Path, output: Path) -> None:
    """Writes the shape file of one data directory, without utterances too long for their audio.

    Raises:
        ValueError: when a table is not sorted, an utterance has no length in utt2num_samples, or
            none is left.
    """
    name = folder.name
    kept = total = tokens = unknown = 0
    with (
        atomic_open(output / f"{name}_text_shape") as shapes,
        atomic_open(output / f"{name}_excluded.tsv") as excluded,
    ):
        excluded.write("utterance\treason\n")
        for batch in batches(texts_with_lengths(folder), TEXTS_PER_BATCH):
            encoded = tokenizer.encode_all([text for _, text, _ in batch])
            for (utterance, _, samples), ids in zip(batch, encoded):
                tokens += len(ids)
                unknown += ids.count(tokenizer.unknown_id)
                if reason := reason_against_tokens(len(ids), samples):
                    excluded.write(f"{utterance}\t{reason}\n")
                else:
                    kept += 1
                    shapes.write(f"{utterance} {len(ids)},{len(tokenizer.tokens)}\n")
            total += len(batch)
        if not kept:
            raise ValueError(f"{folder}: no utterance of {total} has frames enough for its tokens")
    log.info(
        "%s: %d utterances, %.1f tokens each, excluded %d",
        name, kept, tokens / total, total - kept,
    )  # fmt: skip
    if unknown:
        log.warning("%s: %d of %d tokens are unknown to the model", folder, unknown, tokens)


def texts_with_lengths(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Utterance, text and samples of a data directory, one in memory at a time.

    Raises:
        ValueError: when a table is not sorted, or an utterance has no length in samples.
    """
    tables = (sorted_rows(folder / name) for name in ("text", "utt2num_samples"))
    for utterance, (text, samples) in join_rows(*tables):
        if text is None:
            continue
        if samples is None:
            raise ValueError(f"{folder}/utt2num_samples has no line for {utterance}")
        if not (samples.isdecimal() and int(samples) > 0):
            raise ValueError(
                f"{folder}/utt2num_samples: {utterance} must have a positive integer, "
                f"got {samples!r}"
            )
        yield utterance, text, int(samples)


def _reused(folder: Path) -> bytes:
    """The model of another token folder, checked against its list."""
    Tokenizer.from_dir(folder)
    return (folder / MODEL_NAME).read_bytes()


def _fingerprint(options: argparse.Namespace) -> str:
    files = [options.text]
    for folder in options.sets:
        files += [folder / "text", folder / "utt2num_samples"]
    if options.reuse:
        files += [options.reuse / MODEL_NAME, options.reuse / LIST_NAME]
    names = [folder.name for folder in options.sets]
    if len(set(names)) < len(names):
        raise ValueError(f"sets must have different names, got {', '.join(names)}")
    return fingerprint(
        {
            "type": options.type,
            "vocab_size": None if options.type == "char" else options.vocab_size,
            "sets": names,
            "reuse": str(options.reuse),
        },
        files,
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m local.tokens", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--text", required=True, type=Path, help="Kaldi text to train on")
    add("--type", default="unigram", help=", ".join(TYPES))
    add("--vocab_size", type=int, default=80, help="tokens, special ones included; not for char")
    add("--output", required=True, type=Path, help="folder of the model and the list")
    add("--sets", nargs="*", type=Path, default=[], help="data directories to count tokens in")
    add("--reuse", type=Path, help="take the model of this token folder instead of training one")
    return parser


if __name__ == "__main__":
    run(main)
