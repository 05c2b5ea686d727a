"""Manifests of lhotse, line by line: doubled, of wrong types, not as their audio is."""

import numpy as np
import pytest
import soundfile
from toy_lhotse import RATE, excluded, noise, prepare, recording_line, supervision_line, write_lines

from espnet_local.audio import AudioReader
from espnet_local.files import read_table


@pytest.fixture
def lines(tmp_path):
    """A folder of manifests with dev and test, and a recording of 2 s of noise for every seed."""
    folder = tmp_path / "lines"
    for seed, name in enumerate("abc"):
        soundfile.write(tmp_path / f"{name}.wav", noise(2.0, seed), RATE)
    for part in ("dev", "test"):
        write_lines(
            folder, part, [recording_line("r", tmp_path / "c.wav")], [supervision_line(part, "r")]
        )
    return folder


def test_parts_may_have_recordings_of_the_same_id(tmp_path, lines):
    for name in "ab":
        path = tmp_path / f"{name}.wav"
        write_lines(lines, name, [recording_line("r", path)], [supervision_line(name, "r")])
    write_lines(lines, "c", [], [supervision_line("a", "r")])
    out = prepare(tmp_path, lines, "--parts", "train=a+b+c")
    reader = AudioReader(out / "train/wav.scp")
    for seed, name in enumerate("ab"):
        np.testing.assert_allclose(reader[name], noise(2.0, seed), atol=2 / 32768)
    assert excluded(out / "train") == {"a": "duplicate id"}


def test_a_manifest_with_two_recordings_of_one_id_leaves_out_what_is_said_of_them(tmp_path, lines):
    recordings = [recording_line(i, tmp_path / f"{p}.wav") for i, p in ("ra", "rb", "sc", "sc")]
    supervisions = [supervision_line("u", "r"), supervision_line("v", "s")]
    write_lines(lines, "train", recordings, supervisions)
    out = prepare(tmp_path, lines)
    assert excluded(out / "train") == {"u": "several recordings r in the manifest"}
    assert list(read_table(out / "train/text")) == ["v"]


def test_audio_of_another_length_or_rate_than_its_manifest_says_is_left_out(tmp_path, lines):
    soundfile.write(tmp_path / "long.wav", noise(5.0, 3), RATE)
    soundfile.write(tmp_path / "short.wav", noise(1.0, 4), RATE)
    soundfile.write(tmp_path / "slow.wav", noise(2.0, 5, 8000), 8000)
    soundfile.write(tmp_path / "near.wav", noise(2.4, 6), RATE)
    names = ("long", "short", "slow", "near")
    write_lines(
        lines, "train", [recording_line(name, tmp_path / f"{name}.wav") for name in names],
        [supervision_line(name, name) for name in names],
    )  # fmt: skip
    out = prepare(tmp_path, lines)
    assert excluded(out / "train") == {
        "long": "recording lasts 5.00 s, its manifest says 2.00 s",
        "short": "recording lasts 1.00 s, its manifest says 2.00 s",
        "slow": "recording has 8000 Hz, its manifest says 16000 Hz",
    }
    assert read_table(out / "train/utt2num_samples") == {"near": "38400"}  # as lhotse allows


def test_supervisions_of_wrong_types_are_listed(tmp_path, lines):
    wrong = {
        "text": ({"text": 7}, "text must be a string, got 7"),
        "speaker": ({"speaker": 7}, "speaker must be a string, got 7"),
        "recording": ({"recording_id": None}, "recording_id must be a string, got None"),
        "start": ({"start": "zero"}, "start must be a number, got 'zero'"),
        "nan": ({"start": float("nan")}, "segment's times must be numbers, got nan and nan"),
        "deaf": ({"channel": []}, "channel must be a number or several, got []"),
    }
    supervisions = [supervision_line(name, "r", **more) for name, (more, _) in wrong.items()]
    supervisions += [supervision_line(5, "r"), supervision_line(" ", "r")]
    supervisions += [supervision_line("good", "r", speaker="  ")]
    write_lines(lines, "train", [recording_line("r", tmp_path / "a.wav")], supervisions)
    out = prepare(tmp_path, lines)
    assert excluded(out / "train") == {
        **{name: reason for name, (_, reason) in wrong.items()},
        "5": "id must be a string, got 5",
        "''": "empty id",
    }
    assert read_table(out / "train/utt2spk") == {"good": "r"}


def test_of_several_channels_the_lowest_is_heard(tmp_path, lines):
    sides = np.stack([noise(2.0, 8), noise(2.0, 9)], axis=1)
    soundfile.write(tmp_path / "two.flac", sides, RATE)
    two = recording_line("r", tmp_path / "two.flac")
    two["sources"][0]["channels"] = [0, 1]
    write_lines(lines, "train", [two], [supervision_line("u", "r", channel=[1, 0])])
    samples = AudioReader(prepare(tmp_path, lines) / "train/wav.scp")["u"]
    np.testing.assert_allclose(samples, sides[:, 0], atol=2 / 32768)


def test_manifests_of_one_name_in_two_folders_are_one_line_and_parts_in_no_set_are_said(
    tmp_path, lines, capsys
):
    recording = [recording_line("r", tmp_path / "a.wav")]
    for part in ("train", "extra"):
        write_lines(lines / "x", part, recording, [supervision_line("u", "r")])
    (lines / "self").symlink_to(lines)
    (lines / "x").rename(tmp_path / "elsewhere")
    (lines / "x").symlink_to(tmp_path / "elsewhere")
    prepare(tmp_path, lines)
    assert f"{lines}: in no set are the parts extra" in capsys.readouterr().err
    write_lines(lines / "y", "train", recording, [supervision_line("u", "r")])
    with pytest.raises(ValueError, match=r"x/toy_rec.* and .*y/toy_rec.* are the same part"):
        prepare(tmp_path, lines)


def test_a_set_is_made_again_when_its_audio_has_changed_or_its_archive_is_gone(
    tmp_path, lines, capsys
):
    soundfile.write(tmp_path / "a.wav", noise(2.0, 1), RATE)
    recordings = [recording_line(name, tmp_path / f"{name}.wav") for name in ("a", "late")]
    supervisions = [supervision_line(name, name) for name in ("a", "late")]
    write_lines(lines, "train", recordings, supervisions)
    prepare(tmp_path, lines)
    soundfile.write(tmp_path / "late.wav", noise(2.0, 2), RATE)
    out = prepare(tmp_path, lines)
    assert list(read_table(out / "train/text")) == ["a", "late"]
    for name in ("text", "audio.ark", "wav.scp"):
        (out / "dev" / name).unlink()
        prepare(tmp_path, lines)
        assert (out / "dev" / name).exists()
    assert "skipped" not in capsys.readouterr().err


def test_a_damaged_archive_of_a_manifest_is_one_line(tmp_path, lines):
    supervisions = [supervision_line(f"u{number}", "r") for number in range(2000)]
    write_lines(lines, "train", [recording_line("r", tmp_path / "a.wav")], supervisions)
    path = lines / "toy_supervisions_train.jsonl.gz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 40] = b"\xff" * 40
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"toy_supervisions_train.jsonl.gz or their recordings"):
        prepare(tmp_path, lines)
