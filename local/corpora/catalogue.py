"""The corpora there are: the options of each, and how it is made from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from espnet_local.config import nearest
from local.corpora.utterance import Items

OWN_AREA = ".source"  # in the output folder: what a corpus keeps between runs


class Corpus(Protocol):
    """What a corpus must tell to be prepared."""

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on, for a fingerprint."""

    def size(self, set_name: str) -> int:
        """How many items to expect in a set, for progress."""

    def items(self, set_name: str, nj: int) -> Items:
        """Utterances and exclusions of a set, the same for every `nj`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of corpus. What it imports is imported when it is made."""

    shown_as: str
    make: Callable[[argparse.Namespace], Corpus]
    options: dict[str, object] = field(default_factory=dict)  # with their defaults
    needs: dict[str, str] = field(default_factory=dict)  # options without one, and what they are


def _mini(options: argparse.Namespace) -> Corpus:
    from local.corpora.mini import MiniCorpus

    return MiniCorpus(language=options.lang, seed=options.seed, debug=options.debug)


def _fsdd(options: argparse.Namespace) -> Corpus:
    from local.corpora.fsdd import FsddCorpus

    return FsddCorpus(
        folder=options.fsdd_dir,
        split=options.fsdd_split,
        seed=options.seed,
        debug=options.debug,
    )


def _ami(options: argparse.Namespace) -> Corpus:
    from local.corpora.ami import AmiCorpus

    return AmiCorpus(folder=options.corpus_dir, mic=options.mic, debug=options.debug)


def _commonvoice(options: argparse.Namespace) -> Corpus:
    from local.corpora.commonvoice import CommonVoiceCorpus

    return CommonVoiceCorpus(
        source=options.corpus_dir,
        language=options.lang,
        train=options.cv_train,
        own_area=options.output / OWN_AREA,
        debug=options.debug,
    )


def _kaldi(options: argparse.Namespace) -> Corpus:
    from local.corpora.kaldi_dir import KaldiCorpus

    return KaldiCorpus(folder=Path(_source(options.corpus)), debug=options.debug)


def _manifest(options: argparse.Namespace) -> Corpus:
    from local.corpora.manifest import ManifestCorpus

    return ManifestCorpus(path=Path(_source(options.corpus)), debug=options.debug)


def _lhotse(options: argparse.Namespace) -> Corpus:
    from local.corpora.lhotse_corpus import LhotseCorpus
    from local.corpora.lhotse_recipe import LhotseRecipe

    source = _source(options.corpus)
    folder, recipe = Path(source), None
    if "/" not in source:
        folder = options.output / OWN_AREA / "manifests"
        recipe = LhotseRecipe(name=source, corpus_dir=options.corpus_dir)
    return LhotseCorpus(
        folder=folder, recipe=recipe, parts=options.parts, debug=options.debug, nj=options.nj
    )


KINDS = {
    "mini": Kind(shown_as="mini", make=_mini, options={"lang": "en", "seed": 0}),
    "fsdd": Kind(
        shown_as="fsdd",
        make=_fsdd,
        options={"fsdd_split": "official", "seed": 0},
        needs={"fsdd_dir": "the folder that holds recordings/"},
    ),
    "ami": Kind(
        shown_as="ami",
        make=_ami,
        options={"mic": "ihm"},
        needs={"corpus_dir": "the folder with the meetings and the manual annotations"},
    ),
    "commonvoice": Kind(
        shown_as="commonvoice",
        make=_commonvoice,
        options={"lang": "en", "cv_train": "train"},
        needs={"corpus_dir": "the folder of a release, or its tar"},
    ),
    "kaldi": Kind(shown_as="kaldi:<folder>", make=_kaldi),
    "manifest": Kind(shown_as="manifest:<file or folder>", make=_manifest),
    "lhotse": Kind(
        shown_as="lhotse:<recipe or folder/>",
        make=_lhotse,
        options={"corpus_dir": None, "parts": None},
    ),
}
CORPORA = tuple(kind.shown_as for kind in KINDS.values())


def make_corpus(options: argparse.Namespace) -> Corpus:
    """The corpus that checked options name."""
    return KINDS[options.corpus.partition(":")[0]].make(options)


def check_options(options: argparse.Namespace) -> None:
    """Checks the corpus and its options against each other, and fills in their defaults.

    Raises:
        ValueError: for an unknown corpus, an option of another one, or one that is missing.
    """
    name, colon, source = options.corpus.partition(":")
    kind = KINDS.get(name)
    if kind is None or (":" in kind.shown_as) != bool(colon and source):
        raise ValueError(
            f"corpus must be one of {', '.join(CORPORA)}, "
            f"got {options.corpus!r}{nearest(options.corpus, CORPORA)}"
        )
    known = {option for each in KINDS.values() for option in (*each.options, *each.needs)}
    for option in sorted(known - kind.options.keys() - kind.needs.keys()):
        if getattr(options, option) is not None:
            owners = [k for k, v in KINDS.items() if option in v.options or option in v.needs]
            raise ValueError(f"--{option} is of {' and '.join(owners)}, not of {options.corpus}")
    for option, default in kind.options.items():
        if getattr(options, option) is None:
            setattr(options, option, default)
    for option, meaning in kind.needs.items():
        if getattr(options, option) is None:
            raise ValueError(f"corpus {name} needs --{option}, {meaning}")
    if name == "lhotse":
        _check_lhotse(options)


def _check_lhotse(options: argparse.Namespace) -> None:
    is_folder = "/" in _source(options.corpus)
    if is_folder and options.corpus_dir is not None:
        raise ValueError(f"--corpus_dir is of lhotse:<recipe>, not of the folder {options.corpus}")
    if not is_folder and options.corpus_dir is None:
        raise ValueError(f"corpus {options.corpus} needs --corpus_dir, what the recipe reads")


def _source(corpus: str) -> str:
    return corpus.partition(":")[2]
