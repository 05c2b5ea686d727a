"""Strict reading of configs, and the context spec."""

from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_local.config import ContextSpec, from_mapping, load_yaml, nearest, to_mapping


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    rate: float
    kind: Literal["small", "large"] = "small"
    sizes: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    inner: Inner = field(default_factory=lambda: Inner(width=1))
    more: dict[str, Inner] = field(default_factory=dict)
    on: bool = True
    what: Any = None


def test_plain_values_become_a_spec_and_back():
    mapping = {
        "rate": 2,
        "kind": "large",
        "sizes": [1, 2],
        "pair": [3, 4],
        "inner": {"width": 5, "name": None},
        "more": {"x": {"width": 6, "name": "six"}},
        "on": False,
        "what": [1, {"two": 2}],
    }
    spec = from_mapping(Outer, mapping)
    assert isinstance(spec.rate, float)
    assert spec.sizes == (1, 2)
    assert spec.pair == (3, 4.0)
    assert spec.more["x"] == Inner(width=6, name="six")
    assert to_mapping(spec) == mapping
    assert from_mapping(Outer, to_mapping(spec)) == spec


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"rat": 1.0}, r"Outer: unknown key 'rat', did you mean 'rate'\?"),
        ({}, "Outer: missing key 'rate'"),
        ({"rate": "fast"}, "Outer.rate must be of type float, got 'fast'"),
        ({"rate": True}, "Outer.rate must be of type float, got True"),
        ({"rate": 1.0, "on": 1}, "Outer.on must be of type bool, got 1"),
        ({"rate": 1.0, "kind": "huge"}, "Outer.kind must be one of 'small', 'large', got 'huge'"),
        ({"rate": 1.0, "sizes": 3}, "Outer.sizes must be a list, got 3"),
        ({"rate": 1.0, "sizes": [1, "2"]}, r"Outer.sizes\[1\] must be of type int, got '2'"),
        ({"rate": 1.0, "pair": [1]}, r"Outer.pair must have 2 entries, got \[1\]"),
        ({"rate": 1.0, "inner": {"width": True}}, "Outer.inner.width must be of type int"),
        ({"rate": 1.0, "inner": {"width": 1, "nam": 1}}, "did you mean 'name'"),
        ({"rate": 1.0, "more": {"x": {}}}, "Outer.more.x: missing key 'width'"),
        ({"rate": 1.0, "more": []}, r"Outer.more must be a mapping, got \[\]"),
        ([], r"Outer must be a mapping, got \[\]"),
    ],
)
def test_a_mistake_is_named_with_its_place(mapping, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(Outer, mapping)


def test_a_spec_that_refuses_its_values_is_named():
    with pytest.raises(ValueError, match="stages.2a: chunk_frames must be >= 1 or null, got 0"):
        from_mapping(ContextSpec, {"chunk_frames": 0}, "stages.2a")


def test_a_yaml_key_that_stands_twice_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: 1\nb:\n  c: 2\n  c: 3\n")
    with pytest.raises(ValueError, match=r"c.yaml: line 4: key 'c' stands twice"):
        load_yaml(path)


@pytest.mark.parametrize(
    "text", ["a: [1", "- 1\n- 2\n", "just words", "a: !!python/name:os.system"]
)
def test_yaml_that_is_no_plain_mapping_is_an_error(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="c.yaml"):
        load_yaml(path)


def test_an_empty_yaml_file_is_an_empty_mapping(tmp_path):
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert load_yaml(tmp_path / "c.yaml") == {}


def test_nearest_is_silent_when_nothing_is_near():
    assert nearest("qqqq", ["stage", "corpus"]) == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"left_chunks": -1, "chunk_frames": 1}, "left_chunks must be >= 0 or null, got -1"),
        ({"sink_frames": -1}, "sink_frames must be >= 0, got -1"),
        ({"left_chunks": 1}, "need a chunk_frames"),
        ({"sink_frames": 4}, "need a chunk_frames"),
    ],
)
def test_a_context_says_field_bound_and_value(values, message):
    with pytest.raises(ValueError, match=message):
        ContextSpec(**values)


def test_contexts_have_names_and_lengths():
    assert ContextSpec().name == "full"
    assert ContextSpec().chunk_ms is None
    assert ContextSpec(chunk_frames=32).name == "640ms_leftall"
    spec = ContextSpec(chunk_frames=16, left_chunks=1, sink_frames=16)
    assert (spec.name, spec.chunk_ms) == ("320ms_left1_sink16", 320)
    with pytest.raises(FrozenInstanceError):
        spec.sink_frames = 3


@given(st.integers(1, 200), st.none() | st.integers(0, 20), st.integers(0, 64))
def test_different_contexts_have_different_names(chunk, left, sinks):
    spec = ContextSpec(chunk_frames=chunk, left_chunks=left, sink_frames=sinks)
    other = ContextSpec(chunk_frames=chunk, left_chunks=left, sink_frames=sinks + 1)
    assert spec.name != other.name
    assert from_mapping(ContextSpec, to_mapping(spec)) == spec
