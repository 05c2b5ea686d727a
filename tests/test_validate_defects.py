"""Each planted defect of a data directory is found and named, and nothing else is."""

import kaldiio
import numpy as np
import pytest
import soundfile
from toy_data_dir import SECONDS, append, check, edit, noise, wav, write_clean

from espnet_local.files import read_table, write_table
from local.validate_data import main


@pytest.fixture
def folder(tmp_path):
    write_clean(tmp_path / "train")
    return tmp_path / "train"


def cut(folder):
    raw = (folder / "s1-b.wav").read_bytes()
    (folder / "s1-b.wav").write_bytes(raw[:-100])


DEFECTS = {
    "a duplicate": (
        lambda f: append(f, "text", b"s2-c no\n"),
        {"duplicate": ["text: duplicate key 's2-c'"]},
    ),
    "a duplicate in utt2spk, told once": (
        lambda f: append(f, "utt2spk", b"s2-c s2\n"),
        {"duplicate": ["utt2spk: duplicate key 's2-c'"]},
    ),
    "missing in a table": (
        lambda f: edit(f, "text", s1_b=None),
        {"different ids": ["s1-b is in wav.scp, not in text"]},
    ),
    "missing audio": (
        lambda f: edit(f, "wav.scp", s1_b=None),
        {
            "different ids": [
                "s1-b is in text, not in wav.scp",
                "s1-b is in utt2spk, not in wav.scp",
                "s1-b is in utt2num_samples, not in wav.scp",
            ]
        },
    ),
    "an empty text": (
        lambda f: edit(f, "text", s1_b=""),
        {"empty text": ["text: s1-b is empty"]},
    ),
    "no speaker": (
        lambda f: (edit(f, "utt2spk", s1_b=""), (f / "spk2utt").unlink()),
        {"no speaker": ["utt2spk: s1-b has no speaker"], "no spk2utt": ["spk2utt is missing"]},
    ),
    "not UTF-8": (
        lambda f: append(f, "text", b"s3-d \xff\n"),
        {
            "bad line": ["{}/text:4: not UTF-8: invalid start byte"],
            "different ids": ["s3-d is in text, not in wav.scp"],
        },
    ),
    "an empty line": (
        lambda f: append(f, "utt2spk", b"\n"),
        {"bad line": ["{}/utt2spk:4: empty line"]},
    ),
    "a missing table": (
        lambda f: (f / "utt2spk").unlink(),
        {"missing table": ["utt2spk is missing"]},
    ),
    "spk2utt that is another's": (
        lambda f: edit(f, "spk2utt", s1="s1-a", s2="s1-b s2-c"),
        {
            "spk2utt": [
                "spk2utt is not the inverse of utt2spk: first at speaker 's1', utterance s1-b"
            ]
        },
    ),
    "a length that is no number": (
        lambda f: edit(f, "utt2num_samples", s1_b="long"),
        {"bad length": ["utt2num_samples: s1-b must have a positive integer, got 'long'"]},
    ),
    "a length that differs": (
        lambda f: edit(f, "utt2num_samples", s1_b=16_001),
        {
            "length differs": [
                "s1-b: utt2num_samples says 16001 samples, the audio has 16000 at 16000 Hz"
            ]
        },
    ),
    "a missing file": (
        lambda f: (f / "s1-b.wav").unlink(),
        {"no audio": ["s1-b: No such file or directory: {}/s1-b.wav"]},
    ),
    "no file's name": (
        lambda f: edit(f, "wav.scp", s1_b=""),
        {"no audio": ["s1-b: wav.scp names no file"]},
    ),
    "a pipe": (
        lambda f: edit(f, "wav.scp", s1_b="touch ran |"),
        {"no audio": ["s1-b: pipes are not run, write the audio to files first"]},
    ),
    "a folder": (
        lambda f: edit(f, "wav.scp", s1_b=f),
        {"no audio": ["s1-b: Is a directory: {}"]},
    ),
    "truncated audio": (
        cut,
        {"unreadable": ["s1-b: {}/s1-b.wav: truncated, 100 bytes short of what its header says"]},
    ),
    "no audio format": (
        lambda f: (f / "s1-b.wav").write_text("hello, this is no audio at all"),
        {"unreadable": ["s1-b: {}/s1-b.wav: not readable as audio: Format not recognised."]},
    ),
    "another rate": (
        lambda f: (wav(f, "s1-b", noise(1.0, 8000), 8000), edit(f, "utt2num_samples", s1_b=8000)),
        {"sample rate": ["s1-b: 8000 Hz, expected 16000 Hz"]},
    ),
    "stereo": (
        lambda f: wav(f, "s1-b", np.stack([noise(1.0)] * 2, axis=1)),
        {"channels": ["s1-b: 2 channels, expected 1"]},
    ),
    "too short": (
        lambda f: (wav(f, "s1-b", noise(0.05)), edit(f, "utt2num_samples", s1_b=800)),
        {"too short": ["s1-b: 0.050 s, shorter than 0.1 s"]},
    ),
    "too long": (
        lambda f: (wav(f, "s1-b", noise(31)), edit(f, "utt2num_samples", s1_b=31 * 16_000)),
        {"too long": ["s1-b: 31.0 s, longer than 30 s"]},
    ),
    "no samples": (
        lambda f: wav(f, "s1-b", noise(0)),
        {"unreadable": ["s1-b: {}/s1-b.wav: empty audio"]},
    ),
}


def test_a_clean_directory_passes(folder):
    assert check(folder) == {}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found_and_named_and_nothing_else(folder, defect):
    plant, found = DEFECTS[defect]
    plant(folder)
    expected = {name: [m.format(folder) for m in told] for name, told in found.items()}
    assert check(folder) == expected
    assert not (folder / "ran").exists()


def test_an_unsorted_table_is_told_and_the_other_checks_go_on(folder):
    edit(folder, "text", s1_a="")
    lines = (folder / "text").read_text().splitlines()
    (folder / "text").write_text("\n".join(lines[::-1]) + "\ns2-c twice\n")
    assert check(folder) == {
        "not sorted": [
            "text is not sorted: s1-b stands after s2-c",
            "text is not sorted: s1-a stands after s1-b",
        ],
        "duplicate": ["text: duplicate key 's2-c'"],
        "empty text": ["text: s1-a is empty"],
    }


def test_capitals_come_before_small_letters_as_in_the_c_locale(folder):
    for name in ("wav.scp", "text", "utt2spk", "utt2num_samples"):
        table = read_table(folder / name)
        write_table(folder / name, {key.replace("s2", "S2"): v for key, v in table.items()})
    (folder / "spk2utt").write_text("s1 s1-a s1-b\ns2 S2-c\n")
    assert check(folder) == {}
    lines = (folder / "text").read_text().splitlines(keepends=True)
    (folder / "text").write_text("".join([*lines[1:], lines[0]]))
    assert check(folder) == {"not sorted": ["text is not sorted: S2-c stands after s1-b"]}


def test_a_users_own_directory_needs_neither_lengths_nor_spk2utt(folder):
    (folder / "utt2num_samples").unlink()
    assert check(folder) == {}
    (folder / "spk2utt").unlink()
    main([str(folder)])  # a remark alone is no error


@pytest.mark.parametrize("kwargs", [None, {"format": "flac"}])
def test_a_truncated_archive_is_found_without_decoding(folder, kwargs):
    options = {"write_function": "soundfile", "write_kwargs": kwargs} if kwargs else {}
    audio = {name: (16_000, noise(seconds)) for name, seconds in SECONDS.items()}
    kaldiio.save_ark(str(folder / "a.ark"), audio, scp=str(folder / "wav.scp"), **options)
    assert check(folder) == {}
    path = folder / "a.ark"
    path.write_bytes(path.read_bytes()[:-20])
    found = check(folder)
    assert list(found) == ["unreadable"]
    assert found["unreadable"][0].startswith("s2-c: ")
    assert "truncated" in found["unreadable"][0]


def test_a_truncated_flac_file_is_found_without_decoding_and_damage_inside_with_it(folder):
    path = folder / "s1-b.flac"
    soundfile.write(path, noise(10), 16_000)
    edit(folder, "wav.scp", s1_b=path)
    edit(folder, "utt2num_samples", s1_b=160_000)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    assert list(check(folder)) == ["unreadable"]
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(20_000) + whole[middle + 20_000 :])
    assert check(folder) == {}
    assert list(check(folder, decode=True)) == ["unreadable"]
