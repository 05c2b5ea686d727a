"""Stream states as values: picking rows, joining streams, bytes.

A state is a frozen dataclass or a NamedTuple. Its fields are tensors with the batch on axis 0,
states again, or plain values that all rows share (the context). Fields named in the class's
`GROWING` get longer with the age of a stream and are aligned at their newest entry. Nothing here
changes a state in place; every function returns a new one. B batch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from espnet_local.config import from_mapping, to_mapping

State = TypeVar("State")


def field_names(state: Any) -> tuple[str, ...]:
    """The names of a state's fields, in order."""
    if dataclasses.is_dataclass(state):
        return tuple(f.name for f in dataclasses.fields(state))
    return tuple(state._fields)


def growing(state: Any) -> frozenset[str]:
    """The names of the fields that get longer with the age of a stream."""
    return getattr(state, "GROWING", frozenset())


def map_tensors(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Applies `function` to every tensor of a state, nested ones included."""

    def mapped(value: Any) -> Any:
        if isinstance(value, Tensor):
            return function(value)
        return map_tensors(function, value) if _is_state(value) else value

    kind: Any = type(state)
    return kind(**{name: mapped(getattr(state, name)) for name in field_names(state)})


def batch_size(state: Any) -> int:
    """The number of rows."""
    for name in field_names(state):
        value = getattr(state, name)
        if isinstance(value, Tensor):
            return len(value)
        if _is_state(value):
            return batch_size(value)
    raise ValueError(f"{type(state).__name__} holds no tensor")


def select(state: State, rows: Sequence[int] | Tensor) -> State:
    """The state of some rows, in the order given; a row may come twice.

    Raises:
        ValueError: for a row that is not there.
    """
    index, size = torch.as_tensor(rows), batch_size(state)
    if index.numel() and (index.dtype == torch.bool or index.is_floating_point()):
        raise ValueError(f"rows must be whole numbers, got {index.dtype}")
    index = index.long()
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise ValueError(f"rows must be in [0, {size}), got {index.tolist()}")
    return map_tensors(lambda t: t.index_select(0, index.to(t.device)), state)


def stack(states: Sequence[State]) -> State:
    """One state with the rows of all, in their order; the opposite of `select`.

    Of fields that grow, the shorter ones get zeros in front.

    Raises:
        ValueError: for no state, states of different kinds, with different plain values, or with
            tensors of different shapes.
    """
    if not states:
        raise ValueError("stack must be given one state or more, got none")
    first: Any = states[0]
    if any(type(s) is not type(first) for s in states):
        raise ValueError(f"states must be of one kind, got {[type(s).__name__ for s in states]}")
    if len(states) == 1:
        return states[0]
    shapes = {name: [tuple(getattr(s, name).shape[1:]) for s in states] for name in _fixed(first)}
    for name, found in shapes.items():
        if len(set(found)) > 1:
            raise ValueError(f"{name} must be of one shape in all states, got {found}")
    joined: dict[str, Any] = {}
    for name in field_names(first):
        values = [getattr(state, name) for state in states]
        if isinstance(values[0], Tensor):
            joined[name] = torch.cat(_aligned(values) if name in growing(first) else values)
        elif _is_state(values[0]):
            joined[name] = stack(values)
        else:
            if any(value != values[0] for value in values):
                raise ValueError(f"{name} must be the same in all states, got {values}")
            joined[name] = values[0]
    return type(first)(**joined)


def to_bytes(state: Any) -> bytes:
    """A state as a safetensors file; `from_bytes` gives it back, bit for bit."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    _flatten(state, "", tensors, plain)
    # One entry: safetensors writes several in random order, and equal states are equal bytes.
    header = json.dumps({"kind": type(state).__name__, "plain": plain}, sort_keys=True)
    # Cloned: fields of a new state may share their zeros, which safetensors refuses.
    return save_tensors({k: v.contiguous().clone() for k, v in tensors.items()}, {"state": header})


def from_bytes(like: State, data: bytes, device: torch.device | str = "cpu") -> State:
    """The opposite of `to_bytes`.

    Args:
        like: any state of the same kind and model; tells the fields, types and widths.
        data: what `to_bytes` gave.
        device: where the tensors go.

    Raises:
        ValueError: naming what is wrong, when the bytes are cut short, of something else, or of a
            state that does not fit `like`.
    """
    try:
        tensors = load_tensors(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        header = json.loads(metadata["state"])
        kind, plain = header["kind"], header["plain"]
    except (SafetensorError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"not the bytes of a state: {error}") from None
    if kind != type(like).__name__:
        raise ValueError(f"state must be of kind {type(like).__name__}, got {kind!r}")
    return _rebuild(like, "", tensors, plain, torch.device(device))


def _is_state(value: Any) -> bool:
    """Whether the fields of `value` are rows of a batch, and not a plain value such as a spec."""
    if isinstance(value, tuple):
        return hasattr(value, "_fields")
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    values = (getattr(value, name) for name in field_names(value))
    return any(isinstance(v, Tensor) or _is_state(v) for v in values)


def _fixed(state: Any) -> list[str]:
    """The names of the tensors whose shape, the batch aside, never changes."""
    names = (n for n in field_names(state) if isinstance(getattr(state, n), Tensor))
    return [name for name in names if name not in growing(state)]


def _aligned(tensors: list[Tensor]) -> list[Tensor]:
    """Zeros in front along every axis but the first, to the largest."""
    shape = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors))]

    def padded(tensor: Tensor) -> Tensor:
        missing = [want - have for want, have in zip(shape, tensor.shape[1:])]
        if not any(missing):
            return tensor
        # F.pad counts axes from the last one, two numbers (front, back) each.
        return F.pad(tensor, [n for m in reversed(missing) for n in (m, 0)])

    return [padded(t) for t in tensors]


def _flatten(state: Any, prefix: str, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    for name in field_names(state):
        value = getattr(state, name)
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif _is_state(value):
            _flatten(value, f"{prefix}{name}.", tensors, plain)
        else:
            plain[prefix + name] = to_mapping(value)


def _rebuild(
    like: Any, prefix: str, tensors: dict[str, Tensor], plain: dict[str, Any], device: torch.device
) -> Any:
    values: dict[str, Any] = {}
    for name in field_names(like):
        pattern, key = getattr(like, name), prefix + name
        if _is_state(pattern):
            values[name] = _rebuild(pattern, f"{key}.", tensors, plain, device)
        elif isinstance(pattern, Tensor):
            if key not in tensors:
                raise ValueError(f"the state lacks {key}")
            tensor, wanted = tensors[key], list(pattern.shape[1:])
            grown = name in growing(like) and tensor.dim() == pattern.dim()
            if tensor.dtype != pattern.dtype or not (grown or wanted == list(tensor.shape[1:])):
                raise ValueError(
                    f"{key} must be {pattern.dtype} of shape {['batch', *wanted]}, "
                    f"got {tensor.dtype} of shape {list(tensor.shape)}"
                )
            values[name] = tensor.to(device)
        else:
            kind = type(pattern)
            given = plain.get(key)
            values[name] = from_mapping(kind, given) if dataclasses.is_dataclass(kind) else given
            if values[name] != pattern:
                raise ValueError(f"{key} must be {pattern}, got {values[name]}")
    return type(like)(**values)
