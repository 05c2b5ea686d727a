"""Strict reading of YAML into frozen dataclasses, and the specs shared by several rooms.

A key that no field has is an error that names the nearest field: a misspelt option must never be
swallowed. Choices are `Literal` types, checked on construction.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

SAMPLE_RATE = 16_000  # Hz
HOP_SAMPLES = 320  # one encoder frame = 20 ms
RECEPTIVE_SAMPLES = 400  # what one encoder frame sees = 25 ms
BEST_CHECKPOINT = "valid.wer.best.pth"  # ESPnet's link to the epoch with the lowest WER
FRAME_MS = 1000 * HOP_SAMPLES // SAMPLE_RATE

T = TypeVar("T")


def nearest(word: str, choices: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the choice nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _convert(value: Any, kind: Any, where: str) -> Any:
    """Checks `value` against a field's type; lists become tuples, ints floats where asked."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        errors = []
        for option in arguments:
            if option is type(None):
                continue
            try:
                return _convert(value, option, where)
            except ValueError as error:
                errors.append(error)
        raise errors[0]
    if origin is Literal:
        if value not in arguments:
            listed = ", ".join(map(repr, arguments))
            raise ValueError(f"{where} must be one of {listed}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} must be a list, got {value!r}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) != len(arguments):
            raise ValueError(f"{where} must have {len(arguments)} entries, got {value!r}")
        return tuple(
            _convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, arguments))
        )
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping, got {value!r}")
        return {str(k): _convert(v, arguments[1], f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else from_mapping(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} must be of type {kind.__name__}, got {value!r}")
    return value


def from_mapping(kind: type[T], mapping: Any, where: str = "") -> T:
    """Builds the dataclass `kind` from a mapping, strictly.

    Args:
        kind: a dataclass.
        mapping: its fields by name; nested dataclasses are mappings themselves.
        where: the place in the file, for messages.

    Raises:
        ValueError: for an unknown, missing or ill-typed key, naming it.
    """
    where = where or kind.__name__
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where} must be a mapping, got {mapping!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(str(key), fields)}")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in mapping:
            raise ValueError(f"{where}: missing key {name!r}")
    try:
        return kind(**{k: _convert(v, hints[k], f"{where}.{k}") for k, v in mapping.items()})
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(where) else f"{where}: {message}") from None


def to_mapping(spec: Any) -> dict[str, Any]:
    """A dataclass as plain values for YAML and JSON: tuples become lists, and so on down."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        return value

    return plain(spec)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader to which a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise ValueError(f"line {key_node.start_mark.line + 1}: key {key!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file whose top is a mapping.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: as `parse_yaml`.
    """
    return parse_yaml(Path(path).read_bytes(), str(path))


def parse_yaml(content: bytes, name: str) -> dict[str, Any]:
    """Reads YAML whose top is a mapping.

    Raises:
        ValueError: naming the file and the line, for bad YAML or a key that stands twice.
    """
    try:
        text = content.decode("utf-8")
        value = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name}: must hold a mapping, got {type(value).__name__}")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextSpec:
    """What a frame may attend to; see `espnet_local.masks` for the definition."""

    chunk_frames: int | None = None  # None: the whole utterance is one chunk; 16 = 320 ms
    left_chunks: int | None = None  # None: all past chunks are visible
    sink_frames: int = 0  # the first frames of the stream, visible to every later frame

    def __post_init__(self) -> None:
        if self.chunk_frames is not None and self.chunk_frames < 1:
            raise ValueError(f"chunk_frames must be >= 1 or null, got {self.chunk_frames}")
        if self.left_chunks is not None and self.left_chunks < 0:
            raise ValueError(f"left_chunks must be >= 0 or null, got {self.left_chunks}")
        if self.sink_frames < 0:
            raise ValueError(f"sink_frames must be >= 0, got {self.sink_frames}")
        if self.chunk_frames is None and (self.left_chunks is not None or self.sink_frames):
            raise ValueError(
                "left_chunks and sink_frames need a chunk_frames, got "
                f"left_chunks={self.left_chunks}, sink_frames={self.sink_frames} in full context"
            )

    @property
    def chunk_ms(self) -> int | None:
        """Chunk length in ms, None for full context."""
        return None if self.chunk_frames is None else self.chunk_frames * FRAME_MS

    @property
    def name(self) -> str:
        """A short name for folders and tables: `full`, `320ms_left1_sink16`, `640ms_leftall`."""
        if self.chunk_frames is None:
            return "full"
        left = "all" if self.left_chunks is None else str(self.left_chunks)
        sink = f"_sink{self.sink_frames}" if self.sink_frames else ""
        return f"{self.chunk_ms}ms_left{left}{sink}"
