"""What there is to decode: sub-stage x context x method x set. No torch: skipping takes no time.

A decoded set lies in `exp/<tag>/stage5b/decode_<context>_<method>/<set>/`, with `_streaming` behind
the method where the recognizer streamed it; while it is being made, its shards lie there in
`shard.<n>/<i>/`. Shard i of n holds utterances i, i + n, i + 2n, ... of the set, sorted by id.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from espnet_local.config import ContextSpec, from_mapping, load_yaml, nearest, to_mapping
from espnet_local.contexts import ContextDraws
from espnet_local.files import fingerprint
from espnet_local.stamp import STAMP_NAME, is_done, read_stamp

Method = Literal["greedy", "beam"]
# masked: the whole utterance at once under the context's mask; streaming: chunk by chunk
Decoding = Literal["masked", "streaming"]

FULL = ContextSpec()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeSpec:
    """`conf/decode.yaml`."""

    checkpoint: str = "valid.wer.best.pth"  # in each sub-stage's folder
    methods: tuple[Method, ...] = ("greedy", "beam")
    beam: int = 4  # hypotheses that beam search keeps
    batch_seconds: float = 120.0  # padded audio in a batch: memory, not results
    contexts: tuple[ContextSpec, ...] = ()  # besides full context and the sub-stage's own
    streams: int = 16  # at once, where a sub-stage's own context is streamed
    timed_utterances: int = 5  # of each job, streamed one at a time for the real-time factor

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods must name one or more, each once, got {list(self.methods)}")
        if self.beam < 1:
            raise ValueError(f"beam must be >= 1, got {self.beam}")
        for name in ("streams", "timed_utterances"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.batch_seconds <= 0:
            raise ValueError(f"batch_seconds must be > 0, got {self.batch_seconds}")


def load_decode_spec(path: str | Path) -> DecodeSpec:
    """Reads `conf/decode.yaml`; a bad key or value is a `ValueError` naming file and key."""
    try:
        return from_mapping(DecodeSpec, load_yaml(path), "decode")
    except ValueError as error:
        # What is wrong with the YAML itself already names the file.
        message = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {message}") from None


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(f"shard must be I/N with 1 <= I <= N, got {self.index}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/4` -> Shard(2, 4)."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ValueError(f"shard must be I/N, for example 1/4, got {text!r}")
        return cls(int(index), int(count))


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeTask:
    """One set decoded with one model, context and method."""

    stage_dir: Path
    substage: str
    context: ContextSpec
    decoding: Decoding
    method: Method
    data_dir: Path  # data/<corpus>/<set>
    model: str  # fingerprint of the weights
    fingerprint: str  # of all that the hypotheses depend on

    @property
    def dataset(self) -> str:
        """Name of the set."""
        return self.data_dir.name

    @property
    def folder(self) -> Path:
        """Where the hypotheses go."""
        return (
            self.stage_dir / decode_folder(self.context, self.method, self.decoding) / self.dataset
        )

    def shard_folder(self, shard: Shard) -> Path:
        """Where the hypotheses of one shard go."""
        return self.folder / f"shard.{shard.count}" / str(shard.index)

    def is_merged(self) -> bool:
        """Whether the whole set is decoded and nothing has changed since."""
        return is_done(self.folder, self.fingerprint)

    def is_shard_done(self, shard: Shard) -> bool:
        """Whether a shard is decoded and nothing has changed since."""
        return is_done(self.shard_folder(shard), self.fingerprint)


def decode_folder(context: ContextSpec, method: str, decoding: str) -> Path:
    """Where the sets lie that were decoded in one way, below the sub-stage's folder."""
    suffix = "_streaming" if decoding == "streaming" else ""
    return Path(f"decode_{context.name}_{method}{suffix}")


def plan_tasks(
    expdir: Path, data: Path, sets: list[str], spec: DecodeSpec, only: list[str] | None = None
) -> list[DecodeTask]:
    """All there is to decode, done or not, sub-stage by sub-stage.

    Args:
        expdir: `exp/<tag>`.
        data: `data/<corpus>`.
        sets: folders in it.
        only: sub-stages; all finished ones when None.

    Raises:
        ValueError: when no sub-stage is finished, or one that is asked for is not.
        FileNotFoundError: when a checkpoint, `wav.scp` or `text` is missing.
    """
    # The text is not decoded, but stands for what archives under the same names hold.
    inputs = {s: fingerprint(files=[data / s / "wav.scp", data / s / "text"]) for s in sets}
    tasks = []
    for substage, stage_dir in _chosen(expdir, only).items():
        checkpoint = fingerprint(files=[stage_dir / spec.checkpoint])
        ways = _ways(own_context(stage_dir), spec)
        for dataset in sets:
            for (context, decoding), method in itertools.product(ways, spec.methods):
                values = {
                    "checkpoint": checkpoint,
                    "data": inputs[dataset],
                    "context": to_mapping(context),
                    "decoding": decoding,
                    "method": method,
                    "beam": spec.beam if method == "beam" else None,
                }
                tasks.append(
                    DecodeTask(
                        stage_dir=stage_dir,
                        substage=substage,
                        context=context,
                        decoding=decoding,
                        method=method,
                        data_dir=data / dataset,
                        model=checkpoint,
                        fingerprint=fingerprint(values),
                    )
                )
    return tasks


def _ways(own: ContextSpec, spec: DecodeSpec) -> list[tuple[ContextSpec, Decoding]]:
    """How a sub-stage is decoded: masked under all contexts, and its own streamed."""
    contexts = dict.fromkeys([FULL, own, *spec.contexts])
    ways: list[tuple[ContextSpec, Decoding]] = [(context, "masked") for context in contexts]
    if own.chunk_frames is not None:
        ways.append((own, "streaming"))
    return ways


def own_context(stage_dir: Path) -> ContextSpec:
    """The context a finished sub-stage was validated in, from its stamp.

    Raises:
        ValueError: when the stamp does not tell.
    """
    stamp = read_stamp(stage_dir) or {}
    where = f"{stage_dir / STAMP_NAME}: contexts"
    if "contexts" not in stamp:
        raise ValueError(f"{where}: missing; train the sub-stage again")
    return from_mapping(ContextDraws, stamp["contexts"], where).first


def finished_substages(expdir: Path) -> dict[str, Path]:
    """Folders of the finished sub-stages by name, sorted; without what training moved aside."""
    names = (path.parent.name for path in expdir.glob(f"stage*/{STAMP_NAME}"))
    kept = sorted(name for name in names if "." not in name)  # stage1.replaced1
    return {name.removeprefix("stage"): expdir / name for name in kept}


def _chosen(expdir: Path, only: list[str] | None) -> dict[str, Path]:
    found = finished_substages(expdir)
    if not found:
        raise ValueError(f"{expdir}: no finished sub-stage (stage*/{STAMP_NAME}); train one first")
    for name in only or ():
        if name not in found:
            raise ValueError(
                f"{expdir}: sub-stage {name!r} is not finished{nearest(name, found)} "
                f"(finished: {', '.join(found)})"
            )
    return {name: path for name, path in found.items() if only is None or name in only}
