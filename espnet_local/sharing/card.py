"""The model card of a packed sub-stage: what it is, how well it works, where it comes from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_local.config import FRAME_MS, ContextSpec, from_mapping
from espnet_local.contexts import ContextDraws
from espnet_local.metrics import algorithmic_latency_ms
from espnet_local.provenance import PACKAGES, without_folders
from espnet_local.results import markdown_table
from espnet_local.sharing.results import row_context
from espnet_local.stamp import STAMP_NAME, read_stamp

UNKNOWN_LICENCE = "unknown"
_NOT_RECORDED = "not recorded"
# What is read of a stamp, where it is there.
_STAMP_KINDS = {"contexts": dict, "corpus": dict, "made_by": dict, "parent": str, "pretrained": str}
_USE = """\
With the recipe xlsr_transducer, chunk by chunk as the audio comes:

    python -m espnet_local.bin.stream --model {word}{option} speech.wav

```python
from espnet_local.decode.recognizer import Recognizer

recognizer = Recognizer.from_pretrained({text}{argument})
```

With ESPnet, whole utterances of 16 kHz samples in [-1, 1]:

```python
import espnet_local
from espnet2.bin.asr_inference import Speech2Text
from espnet2.main_funcs.pack_funcs import unpack

recognise = Speech2Text(**unpack({text}, "unpacked"), beam_size=1, ctc_weight=0.0)
```"""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells."""

    folder: Path  # exp/<tag>/stage5b
    name: str  # of the packed file
    stamp: Mapping[str, Any]  # of the sub-stage
    context: ContextSpec  # its own
    size: str
    parameters: int
    tokens: int
    results: Sequence[Mapping[str, str]]  # rows of results.tsv
    licence: str


def model_card(facts: CardFacts) -> str:
    """The card in Markdown, with the head that model hubs read.

    Raises:
        ValueError: for a stamp of another form, naming it.
    """
    _check_stamp(facts.stamp, facts.folder)
    head = {
        "license": facts.licence,
        "library_name": "espnet",
        "pipeline_tag": "automatic-speech-recognition",
        "tags": ["espnet", "audio", "automatic-speech-recognition", "streaming", "transducer"],
    }
    tag, substage = facts.folder.absolute().parent.name, facts.stamp.get("substage")
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {tag}, sub-stage {substage}",
        _what(facts),
        "## Word error rates",
        _results(facts.results),
        "## Use",
        _use(facts),
        "## Training",
        _training(facts.folder, facts.stamp),
        "## Provenance",
        markdown_table(["what", "value"], _provenance(facts.stamp)),
        "## Licence",
        "None was named when this file was packed: ask those who trained it."
        if facts.licence == UNKNOWN_LICENCE
        else facts.licence,
    ]
    return "\n\n".join(parts) + "\n"


def _what(facts: CardFacts) -> str:
    latency_ms = algorithmic_latency_ms(facts.context)
    works = (
        "It was trained under full context and does not stream by itself."
        if latency_ms is None
        else f"It works in chunks: {_context(facts.context)}; algorithmic latency {latency_ms} ms "
        "at most. Frames and tokens of a stream are those of one masked pass."
    )
    return (
        f"Speech recognition: a neural transducer on an XLSR encoder of size {facts.size} "
        "([XLSR-Transducer](https://arxiv.org/abs/2407.04439)), "
        f"{facts.parameters / 1e6:.1f} M parameters, {facts.tokens} tokens, 16 kHz audio. {works}"
    )


def _use(facts: CardFacts) -> str:
    streams = facts.context.chunk_frames is not None
    return _USE.format(
        word=shlex.quote(facts.name),
        text=json.dumps(facts.name, ensure_ascii=False),
        option="" if streams else " --chunk_ms 640",
        argument="" if streams else ", chunk_ms=640",
    )


def _context(context: ContextSpec) -> str:
    if context.chunk_ms is None:
        return "full context"
    left = "all" if context.left_chunks is None else context.left_chunks
    return f"{context.chunk_ms} ms, {left} left, {context.sink_frames} sinks"


def _results(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return "Not scored yet."

    def cells(row: Mapping[str, str]) -> list[str]:
        context = row_context(row)
        delays = [row.get(f"em_p{part}_ms", "-") for part in (50, 90, 99)]
        return [
            row["dataset"],
            _context(context),
            row["decoding"],
            row["method"],
            row["wrd"],
            row["err"],
            row["s_err"],
            str(algorithmic_latency_ms(context) or "-"),
            "-" if "-" in delays else " / ".join(delays),
            row.get("rtf", "-"),
        ]

    head = [
        "set", "context", "decoding", "search", "words", "WER %", "utterances wrong %",
        "latency ms", "emission delay ms, p50 / p90 / p99", "RTF",
    ]  # fmt: skip
    return (
        f"{markdown_table(head, [cells(row) for row in rows])}\n\n"
        "Latency is the algorithmic one in the worst case. Emission delay: from the end of a "
        "correct word to the audio received when its last token stood, to stay. RTF: computing "
        "time over audio time, one stream at a time."
    )


def _training(folder: Path, stamp: Mapping[str, Any]) -> str:
    """The sub-stages passed, oldest first."""
    experiment = folder.absolute().parent
    passed = [stamp]
    names = {stamp.get("substage")}
    while (parent := passed[0].get("parent")) not in (None, "pretrained", *names):
        found = read_stamp(experiment / f"stage{parent}")
        wanted = passed[0].get("parent_fingerprint")
        if found is None or (wanted is not None and found.get("fingerprint") != wanted):
            # It was taken away, or trained again since.
            passed.insert(0, {"substage": parent})
            break
        _check_stamp(found, experiment / f"stage{parent}")
        passed.insert(0, found)
        names.add(parent)
    first = passed[0]
    weights = first.get("pretrained", _NOT_RECORDED if "contexts" in first else None)
    start = without_folders(weights) if weights else "random weights"
    body = []
    for one in passed:
        substage = str(one.get("substage"))
        where = f"{experiment / f'stage{substage}' / STAMP_NAME}: contexts"
        draws = from_mapping(ContextDraws, one["contexts"], where) if "contexts" in one else None
        body.append(
            [
                substage,
                _draws(draws) if draws else "no longer there",
                _plain(one.get("best_epoch")),
                _plain(one.get("valid_wer")),
            ]
        )
    table = markdown_table(["sub-stage", "contexts", "best epoch", "validation WER %"], body)
    known = f"\n\nThe first of them started from: {start}." if "contexts" in first else ""
    return f"{table}{known}"


def _check_stamp(stamp: Mapping[str, Any], folder: Path) -> None:
    for key, kind in _STAMP_KINDS.items():
        value = stamp.get(key)
        if value is not None and not isinstance(value, kind):
            wanted = "text" if kind is str else "a mapping"
            raise ValueError(f"{folder / STAMP_NAME}: {key} must be {wanted}, got {value!r}")


def _draws(draws: ContextDraws) -> str:
    """The contexts of a sub-stage: one, or what is drawn from for each batch."""
    if len(draws.contexts()) == 1:
        return _context(draws.first)

    def listed(values: Iterable[int | None], none: str) -> str:
        return "/".join(none if value is None else str(value) for value in values)

    chunks_ms = [None if frames is None else frames * FRAME_MS for frames in draws.chunk_frames]
    return (
        f"drawn from {listed(chunks_ms, 'full')} ms, {listed(draws.left_chunks, 'all')} left, "
        f"{listed(draws.sink_frames, '')} sinks"
    )


def _provenance(stamp: Mapping[str, Any]) -> list[list[str]]:
    made_by = stamp.get("made_by") or {}
    call = made_by.get("call")
    corpus = stamp.get("corpus") or {}
    data = " ".join(str(corpus[key]) for key in ("name", "fingerprint") if corpus.get(key))
    return [
        ["seed", _plain(stamp.get("seed"))],
        ["call of the recipe", f"`{without_folders(str(call))}`" if call else _NOT_RECORDED],
        ["commit", str(made_by.get("commit") or _NOT_RECORDED)],
        ["config, data, tokens and parent, fingerprint", _plain(stamp.get("fingerprint"))],
        ["data, fingerprint", data or _NOT_RECORDED],
        *([name, str(made_by.get(name) or _NOT_RECORDED)] for name in ("python", *PACKAGES)),
    ]


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
