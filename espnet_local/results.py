"""The result tables of an experiment: `results.tsv` for programs, `RESULTS.md` for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from espnet_local.config import FRAME_MS, ContextSpec, from_mapping
from espnet_local.decode.plan import finished_substages
from espnet_local.files import read_table, write_text
from espnet_local.metrics import LOOK_AHEAD_MS, algorithmic_latency_ms
from espnet_local.scoring import WordErrors, count_errors, write_trn
from espnet_local.stamp import STAMP_NAME, read_stamp
from espnet_local.stream_results import STREAM_COLUMNS, StreamResult, cell, stream_result

RESULTS_NAME = "results.tsv"
CONTEXT_COLUMNS = ("substage", "dataset", "chunk_ms", "left_chunks", "sink_frames")
KEY_COLUMNS = (*CONTEXT_COLUMNS, "decoding", "method")
RESULT_COLUMNS = ("snt", "wrd", "corr", "sub", "del", "ins", "err", "s_err")
COLUMNS = (*KEY_COLUMNS, *RESULT_COLUMNS, "alg_ms", *STREAM_COLUMNS, "model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model under one context, decoded with one method, on one set."""

    substage: str
    dataset: str
    context: ContextSpec
    decoding: str  # masked or streaming
    method: str
    errors: WordErrors
    model: str  # fingerprint of the weights, `-` for one decoded before it was noted
    stream: StreamResult | None = None  # of streaming rows

    @property
    def sort_key(self) -> tuple[object, ...]:
        """By model, set, context (full first, then the shorter chunk and left context), method."""
        context = self.context
        left = float("inf") if context.left_chunks is None else context.left_chunks
        return (
            self.substage, self.dataset, context.chunk_frames or 0, left, context.sink_frames,
            self.decoding, self.method != "greedy", self.method,
        )  # fmt: skip

    def cells(self) -> list[str]:
        """The row's values in the order of `COLUMNS`."""
        errors, context = self.errors, self.context
        full = context.chunk_frames is None
        counts = (
            errors.correct,
            errors.substitutions,
            errors.deletions,
            errors.insertions,
            errors.errors,
        )
        return [
            self.substage,
            self.dataset,
            "full" if full else str(context.chunk_ms),
            "all" if context.left_chunks is None else str(context.left_chunks),
            str(context.sink_frames),
            self.decoding,
            self.method,
            str(errors.sentences),
            str(errors.words),
            *(f"{errors.percent(count):.1f}" for count in counts),
            f"{errors.sentence_error_percent:.1f}",
            cell(algorithmic_latency_ms(context)),
            *(self.stream or StreamResult()).cells(),
            self.model,
        ]

    def latency(self) -> str:
        """Algorithmic latency in the worst case, in words."""
        latency_ms = algorithmic_latency_ms(self.context)
        return "whole utterance" if latency_ms is None else f"{latency_ms} ms"


def collect(expdir: Path, data: Path, sets: list[str]) -> list[Row]:
    """Scores every decoded set, and writes `ref.trn` and `hyp.trn` beside its hypotheses.

    Args:
        expdir: `exp/<tag>`.
        data: `data/<corpus>`.
        sets: folders in it.

    Raises:
        ValueError: when a set is not decoded, or its utterances are not those of the reference.
    """
    rows = []
    stages = finished_substages(expdir).values()
    for dataset in sets:
        stamps = [p for s in stages for p in sorted(s.glob(f"decode_*/{dataset}/{STAMP_NAME}"))]
        if not stamps:
            raise ValueError(f"{expdir}: set {dataset!r} is not decoded; run stage 6 first")
        reference = read_table(data / dataset / "text")
        speakers = read_table(data / dataset / "utt2spk")
        for folder in (path.parent for path in stamps):
            hypothesis = read_table(folder / "text")
            try:
                errors = count_errors(reference, hypothesis)
            except ValueError as error:
                raise ValueError(f"{folder} against {data / dataset / 'text'}: {error}") from None
            write_trn(folder / "ref.trn", reference, speakers)
            write_trn(folder / "hyp.trn", hypothesis, speakers)
            stamp = read_stamp(folder) or {}
            streamed = stamp["decoding"] == "streaming"
            rows.append(
                Row(
                    substage=stamp["substage"],
                    dataset=dataset,
                    context=from_mapping(ContextSpec, stamp["context"]),
                    decoding=stamp["decoding"],
                    method=stamp["method"],
                    errors=errors,
                    model=stamp.get("model", "-"),
                    stream=stream_result(folder, data / dataset) if streamed else None,
                )
            )
    return sorted(rows, key=lambda row: row.sort_key)


def write_results(expdir: Path, rows: list[Row]) -> str:
    """Writes `results.tsv` and `RESULTS.md`, and gives the latter's text."""
    lines = ["\t".join(COLUMNS), *("\t".join(row.cells()) for row in rows)]
    write_text(expdir / RESULTS_NAME, "\n".join(lines) + "\n")
    text = _markdown(expdir, rows)
    write_text(expdir / "RESULTS.md", text)
    return text


def _markdown(expdir: Path, rows: list[Row]) -> str:
    sets = {row.dataset: row.errors for row in rows}
    sizes = [f"{name}: {e.sentences} utterances, {e.words} words" for name, e in sets.items()]
    width = len(KEY_COLUMNS) + len(RESULT_COLUMNS)
    parts = [
        f"# {expdir.name}",
        *sizes,
        "Percentages are of the reference's words, s_err of the utterances. Left context counts "
        f"chunks, sinks count frames of {FRAME_MS} ms. Latency is the algorithmic one in the worst "
        f"case, the chunk and {LOOK_AHEAD_MS} ms; on average it is half of the chunk and "
        f"{LOOK_AHEAD_MS} ms. Masked decoding sees the whole utterance under the context's mask, "
        "streaming gets it chunk by chunk; both must agree.",
        markdown_table(
            [*COLUMNS[:5], "latency", *COLUMNS[5:width]],
            [[*row.cells()[:5], row.latency(), *row.cells()[5:width]] for row in rows],
        ),
        *_stream_part([row for row in rows if row.stream is not None]),
        "Models:",
        _models(expdir, list(dict.fromkeys(row.substage for row in rows))),
    ]
    return "\n\n".join(parts) + "\n"


def _stream_part(rows: list[Row]) -> list[str]:
    """Latency and cost of the streams, next to their error rates."""
    if not rows:
        return []
    kept = [COLUMNS.index(name) for name in (*CONTEXT_COLUMNS, "method", "err", "alg_ms")]
    body = []
    for row in rows:
        cells = row.cells()
        assert row.stream is not None
        body.append(
            [*(cells[i] for i in kept), *row.stream.cells(), row.stream.agreement or "not compared"]
        )
    return [
        "Streams. Emission delay (em_*, percentiles): the audio received when a word's last token "
        "stood in the result, to stay, minus the word's end; of correct words. first_ms: the same "
        "of each utterance's first word, final_ms: wall clock from the last sample to the final "
        "result, medians. rtf: computing time / audio time, one stream at a time while the other "
        "jobs run. mem_mb: the process at its largest. The last column counts utterances whose "
        "tokens are those of masked decoding.",
        markdown_table([*(COLUMNS[i] for i in kept), *STREAM_COLUMNS, "as masked"], body),
    ]


def _models(expdir: Path, substages: list[str]) -> str:
    """What the stamps of the sub-stages say of their training."""
    keys = ("parent", "seed", "best_epoch", "valid_wer", "fingerprint")
    body = []
    for substage in substages:
        stamp = read_stamp(expdir / f"stage{substage}") or {}
        body.append([substage, *(_plain(stamp.get(key, "")) for key in keys)])
    return markdown_table(["substage", *keys], body)


def _plain(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def markdown_table(head: list[str], body: list[list[str]]) -> str:
    """A Markdown table whose columns also line up as plain text; numbers to the right."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    numeric = [all(_is_number(row[i]) for row in body) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        sides = zip(cells, widths, numeric)
        return "| " + " | ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in sides) + " |"

    rule = "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, numeric))
    return "\n".join([line(head), f"|{rule}|", *map(line, body)])


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdecimal()
