"""Prepares a corpus: `python -m local.corpora --corpus mini --output data/mini`.

Writes <output>/{train,dev,test} in the format of `writer`, validated, and skips itself when
options and sources have not changed.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from espnet_local.cli import log_to_stderr, run
from espnet_local.config import nearest
from espnet_local.files import fingerprint
from espnet_local.stamp import clear_stamp, is_done, read_stamp, write_stamp
from local.arguments import ArgumentParser
from local.corpora.catalogue import CORPORA, Corpus, check_options, make_corpus
from local.corpora.output import begin_partial, check_claim, claimed, swap_in
from local.corpora.utterance import SETS

log = logging.getLogger(__name__)
AUDIO_FORMATS = ("flac.ark", "wav", "flac")


def main(arguments: list[str] | None = None) -> None:
    """Parses the options and prepares the corpus unless it is done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    log_to_stderr()
    corpus = make_corpus(options)
    if options.check:
        check_claim(options.output, _owner(options.corpus))
        return
    name = options.output.resolve().name
    wanted = fingerprint(
        {
            "audio_format": options.audio_format,
            "output": str(options.output),  # stands in wav.scp
            **corpus.identity(),
        }
    )
    files = ["wav.scp", "text"] + ["audio.ark"] * (options.audio_format == "flac.ark")
    there = all((options.output / name / file).exists() for name in SETS for file in files)
    if there and is_done(options.output, wanted):
        for line in (read_stamp(options.output) or {})["sets"].values():
            log.info("unchanged, skipped: %s", line)
        return
    with claimed(options.output, _owner(options.corpus)):
        _prepare(corpus, options, name, wanted)


def _owner(corpus: str) -> str:
    """What an output folder is claimed for: the corpus, a folder with its absolute path."""
    kind, colon, source = corpus.partition(":")
    is_path = kind in ("kaldi", "manifest") or "/" in source  # lhotse:<recipe> names no folder
    return kind + colon + (os.path.abspath(source) if source and is_path else source)


def _prepare(corpus: Corpus, options: argparse.Namespace, name: str, wanted: str) -> None:
    # These bring numpy and soundfile: a run that skips does not wait for them.
    from local.corpora.validate import shared, validate
    from local.corpora.writer import write_set

    partial = begin_partial(options.output)
    lines = {}
    for set_name in SETS:
        summary = write_set(
            partial / set_name,
            options.output / set_name,
            corpus.items(set_name, options.nj),
            audio_format=options.audio_format,
            name=f"{name} {set_name}",
            total=corpus.size(set_name),
        )
        lines[set_name] = summary.line(f"{name}/{set_name}")
        log.info("%s", lines[set_name])
        if summary.excluded:
            log.warning("see %s", options.output / set_name / "excluded.tsv")
        validate(partial / set_name, options.output / set_name).raise_if_bad()
    if leaks := list(shared([partial / set_name for set_name in SETS])):
        log.warning("%d ids in several sets, the first: %s", len(leaks), leaks[0].message)
    clear_stamp(options.output)
    swap_in(options.output, SETS)
    write_stamp(options.output, wanted, sets=lines, made_from=corpus.identity())


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m local.corpora", description=__doc__)
    add = parser.add_argument
    add("--corpus", required=True, help=", ".join(CORPORA))
    add("--output", required=True, type=Path, help="folder that gets train, dev and test")
    add("--nj", type=int, default=1, help="processes; the result does not depend on it")
    add("--debug", action="store_true", help="a sliver: about 60, 12 and 12 utterances")
    add("--check", action="store_true", help="only check options and folders, write nothing")
    add("--audio_format", default="flac.ark", help=", ".join(AUDIO_FORMATS))
    # Without defaults here, so that one given for another corpus is noticed; see the catalogue.
    add("--seed", type=int, help="of what is drawn at random (mini, fsdd); 0")
    add("--lang", help="of mini (grammars.yaml) or commonvoice (text_rules.yaml); en")
    add("--fsdd_dir", type=Path, help="folder with recordings/<digit>_<speaker>_<index>.wav")
    add("--fsdd_split", help="official, or speaker:<name> as the test set; official")
    add(
        "--corpus_dir", type=Path, help="the corpus as it comes (ami, commonvoice, lhotse:<recipe>)"
    )
    add("--mic", help="of ami: ihm (headsets) or sdm (one microphone on the table); ihm")
    add("--cv_train", help="of commonvoice: train, or validated without what dev and test hold")
    add("--parts", help="of lhotse: train=<part>+<part>,dev=<part>,test=<part>")
    return parser


def _check(parser: ArgumentParser, options: argparse.Namespace) -> None:
    try:
        check_options(options)
    except ValueError as error:
        parser.error(str(error))
    if options.audio_format not in AUDIO_FORMATS:
        parser.error(
            f"audio_format must be one of {', '.join(AUDIO_FORMATS)}, "
            f"got {options.audio_format!r}{nearest(options.audio_format, AUDIO_FORMATS)}"
        )
    if options.nj < 1:
        parser.error(f"nj must be >= 1, got {options.nj}")


if __name__ == "__main__":
    run(main)
