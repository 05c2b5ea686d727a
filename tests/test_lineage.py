"""Sub-stages whose parent was trained again."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_local.bin import decode
from espnet_local.decode.plan import finished_substages
from espnet_local.files import write_text
from espnet_local.lineage import stale_lines
from espnet_local.stamp import clear_stamp, write_stamp


@pytest.fixture
def expdir(tmp_path: Path) -> Path:
    write_stamp(tmp_path / "stage1", "one", parent="pretrained", parent_fingerprint=None)
    write_stamp(tmp_path / "stage2a", "two", parent="1", parent_fingerprint="one")
    write_stamp(tmp_path / "stage3a", "three", parent="2a", parent_fingerprint="two")
    return tmp_path


def lines(expdir: Path) -> list[str]:
    return stale_lines(finished_substages(expdir))


def test_descendants_of_what_is_there_are_in_order(expdir: Path) -> None:
    assert lines(expdir) == []


def test_a_parent_trained_again_is_named_with_its_child_and_the_call(
    expdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLSR_CALL", "./run.sh --debug true")
    write_stamp(expdir / "stage1", "another", parent="pretrained")
    (line,) = lines(expdir)
    assert line.startswith("sub-stage 2a descends from a sub-stage 1 (fingerprint one)")
    assert "(now another)" in line
    assert line.endswith("./run.sh --debug true --stage 2")


def test_a_parent_that_is_gone_is_named(expdir: Path) -> None:
    clear_stamp(expdir / "stage2a")
    (line,) = lines(expdir)
    assert line.startswith("sub-stage 3a descends from a sub-stage 2a")
    assert "(now none)" in line


def test_stamps_that_do_not_tell_are_left_alone(expdir: Path) -> None:
    write_stamp(expdir / "stage2a", "two", parent="1")
    write_stamp(expdir / "stage1", "another", parent="pretrained")
    assert lines(expdir) == []


def test_decoding_warns_names_what_is_not_decoded_and_decodes_nothing(
    expdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contexts = {"chunk_frames": [16], "left_chunks": [None], "sink_frames": [0]}
    write_stamp(
        expdir / "stage2a", "two", parent="1", parent_fingerprint="older", contexts=contexts
    )
    write_text(expdir / "stage2a/valid.wer.best.pth", "weights")
    for name in ("wav.scp", "text"):
        write_text(tmp_path / "data/test" / name, "u1 x\n")
    decode.main(
        ["--expdir", str(expdir), "--data", str(tmp_path / "data"), "--sets", "test"]
        + ["--substages", "2a", "--pending"]
    )
    shown = capsys.readouterr()
    assert "WARNING sub-stage 2a descends from a sub-stage 1 (fingerprint older)" in shown.err
    folders = shown.out.splitlines()
    assert f"{expdir}/stage2a/decode_full_greedy/test" in folders
    assert not any(Path(folder).exists() for folder in folders)
