"""Atomic files, tables, fingerprints and stamps."""

import os

import pytest

from espnet_local.files import (
    atomic_open,
    fingerprint,
    iter_table,
    join_rows,
    read_table,
    sorted_rows,
    write_table,
    write_text,
)
from espnet_local.stamp import STAMP_NAME, clear_stamp, is_done, read_stamp, write_stamp


def test_a_file_appears_only_when_its_block_ends(tmp_path):
    path = tmp_path / "deep" / "file"
    with atomic_open(path) as stream:
        stream.write("half")
        stream.flush()
        assert not path.exists()
        stream.write(" whole")
    assert path.read_text() == "half whole"


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail_in_between():
        with atomic_open(path) as stream:
            stream.write("new")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail_in_between()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_bytes_can_be_written_and_other_modes_not(tmp_path):
    with atomic_open(tmp_path / "b", "wb") as stream:
        stream.write(b"\xff")
    assert (tmp_path / "b").read_bytes() == b"\xff"
    with (
        pytest.raises(ValueError, match="mode must be 'w' or 'wb', got 'a'"),
        atomic_open(tmp_path / "c", "a"),
    ):
        pass


def test_tables_are_sorted_by_code_point_and_read_back(tmp_path):
    table = {"b": "two words", "B": "x", "a-1": "", "ä": 3}
    write_table(tmp_path / "t", table)
    assert (tmp_path / "t").read_text().splitlines() == ["B x", "a-1", "b two words", "ä 3"]
    assert read_table(tmp_path / "t") == {"B": "x", "a-1": "", "b": "two words", "ä": "3"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1\na 2\n", r"t:2: duplicate key 'a'"),
        (b"a 1\n\nb 2\n", r"t:2: empty line"),
        (b"a 1\nb \xff\n", r"t:2: not UTF-8"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "t")


def test_fingerprints_depend_on_values_and_contents_but_not_on_order_of_keys(tmp_path):
    path = tmp_path / "f"
    path.write_text("1")
    first = fingerprint({"a": 1, "b": 2}, [path])
    assert first == fingerprint({"b": 2, "a": 1}, [path])
    assert first != fingerprint({"a": 1, "b": 3}, [path])
    path.write_text("2")
    assert first != fingerprint({"a": 1, "b": 2}, [path])
    with pytest.raises(FileNotFoundError):
        fingerprint(None, [tmp_path / "missing"])


def test_the_border_between_two_files_counts(tmp_path):
    for name, text in (("a", "12"), ("b", "3"), ("c", "1"), ("d", "23")):
        (tmp_path / name).write_text(text)
    assert fingerprint(None, [tmp_path / "a", tmp_path / "b"]) != fingerprint(
        None, [tmp_path / "c", tmp_path / "d"]
    )


def test_a_stamp_holds_for_its_fingerprint_until_it_is_cleared(tmp_path):
    assert read_stamp(tmp_path) is None
    clear_stamp(tmp_path)  # clearing what is not there does no harm
    write_stamp(tmp_path, "abc", utterances=3)
    assert is_done(tmp_path, "abc")
    assert not is_done(tmp_path, "abd")
    assert read_stamp(tmp_path) == {"fingerprint": "abc", "utterances": 3}
    assert os.listdir(tmp_path) == [STAMP_NAME]
    clear_stamp(tmp_path)
    assert not is_done(tmp_path, "abc")


@pytest.mark.parametrize("content", [b"", b'{"finger', b"\xff", b"[]"])
def test_a_broken_stamp_is_none(tmp_path, content):
    (tmp_path / STAMP_NAME).write_bytes(content)
    assert read_stamp(tmp_path) is None
    assert not is_done(tmp_path, "abc")


def test_a_bad_line_can_be_passed_over_and_is_told(tmp_path):
    (tmp_path / "t").write_bytes(b"a 1\n\nb \xff2\n")
    told = []
    rows = list(iter_table(tmp_path / "t", lambda error: told.append(str(error))))
    assert rows == [(1, "a", "1"), (3, "b", "\ufffd2")]
    assert told == [f"{tmp_path}/t:2: empty line", f"{tmp_path}/t:3: not UTF-8: invalid start byte"]


def test_rows_that_must_be_sorted_are_read_until_one_is_not(tmp_path):
    write_table(tmp_path / "t", {"B": 1, "a": 2})
    assert list(sorted_rows(tmp_path / "t")) == [("B", "1"), ("a", "2")]
    for line, message in (("B 3", "t:3: B stands after a"), ("a 3", "t:3: duplicate key 'a'")):
        (tmp_path / "u").write_text((tmp_path / "t").read_text() + line + "\n")
        (tmp_path / "u").rename(tmp_path / "bad-t")
        with pytest.raises(ValueError, match=message):
            list(sorted_rows(tmp_path / "bad-t"))


def test_sorted_tables_are_walked_side_by_side():
    one, two, three = iter([("a", 1), ("c", 3)]), iter([("b", 2), ("c", 4)]), iter([])
    assert list(join_rows(one, two, three)) == [
        ("a", (1, None, None)),
        ("b", (None, 2, None)),
        ("c", (3, 4, None)),
    ]
