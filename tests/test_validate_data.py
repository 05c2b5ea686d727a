"""Validation of any data directory: each planted defect is found and named, a clean one passes."""

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_local.cli import run
from espnet_local.files import read_table, write_table
from local.corpora.report import PROBLEMS, REMARKS, Report
from local.corpora.sorting import sorted_lines
from local.corpora.writer import invert
from local.tokens import train, write_tokens
from local.validate_data import check_folder, main

SECONDS = {"s1-a": 0.5, "s1-b": 1.0, "s2-c": 0.75}
TEXT = "yes no"


def noise(seconds, rate=16_000):
    samples = np.random.default_rng(0).integers(-3000, 3000, int(seconds * rate))
    return samples.astype(np.int16)


def wav(folder, name, samples=None, rate=16_000):
    soundfile.write(folder / f"{name}.wav", noise(1.0) if samples is None else samples, rate)


def write_clean(folder):
    """A directory with nothing to say against, of wav files."""
    folder.mkdir(parents=True)
    for name, seconds in SECONDS.items():
        wav(folder, name, noise(seconds))
    write_table(folder / "wav.scp", {name: folder / f"{name}.wav" for name in SECONDS})
    write_table(folder / "text", dict.fromkeys(SECONDS, TEXT))
    write_table(folder / "utt2spk", {name: name[:2] for name in SECONDS})
    write_table(folder / "spk2utt", invert(read_table(folder / "utt2spk")))
    write_table(folder / "utt2num_samples", {n: int(s * 16_000) for n, s in SECONDS.items()})


@pytest.fixture
def folder(tmp_path):
    write_clean(tmp_path / "train")
    return tmp_path / "train"


def check(folder, nj=1, decode=False, tokenizer=None, expected=None):
    """What was found, as {check: messages}."""
    report = Report(folder=folder)
    check_folder(report, tokenizer=tokenizer, expected=expected, nj=nj, decode=decode)
    return {name: found.messages for name, found in report.found.items()}


def edit(folder, name, **values):
    """Changes lines of a table; None takes one away."""
    table = read_table(folder / name) | {key.replace("_", "-"): v for key, v in values.items()}
    write_table(folder / name, {key: value for key, value in table.items() if value is not None})


def append(folder, name, line):
    with (folder / name).open("ab") as stream:
        stream.write(line)


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


@pytest.fixture
def segmented(tmp_path):
    """Two recordings of 4 s, of which one holds two utterances."""
    folder = tmp_path / "segmented"
    folder.mkdir()
    for name in ("rec1", "rec2"):
        wav(folder, name, noise(4))
    write_table(folder / "wav.scp", {name: folder / f"{name}.wav" for name in ("rec1", "rec2")})
    # Sorted by utterance, the recordings are not.
    segments = {"s1-a": "rec2 0 1.5", "s1-b": "rec1 2 -1", "s2-c": "rec2 1.5 4.3"}
    write_table(folder / "segments", segments)
    write_table(folder / "text", dict.fromkeys(segments, TEXT))
    write_table(folder / "utt2spk", {name: name[:2] for name in segments})
    write_table(folder / "spk2utt", invert(read_table(folder / "utt2spk")))
    # The last ends 0.3 s after its recording and is cut there; others may round otherwise.
    write_table(folder / "utt2num_samples", {"s1-a": 24_001, "s1-b": 32_000, "s2-c": 40_000})
    return folder


def test_segments_that_are_clean_pass(segmented):
    report = Report(folder=segmented)
    check_folder(report, tokenizer=None, expected=None, nj=1, decode=False)
    assert report.found == {}
    assert (report.utterances, report.seconds) == (3, 1.5 + 2 + 2.5)


@pytest.mark.parametrize(
    ("segment", "name", "message"),
    [
        (
            "rec2 3 4.6",
            "beyond recording",
            "s2-c: segment is 3.0 to 4.6 s, its recording ends at 4.00 s",
        ),
        (
            "rec2 4.1 -1",
            "beyond recording",
            "s2-c: segment is 4.1 to its end s, its recording ends at 4.00 s",
        ),
        ("rec2 3 2", "bad segment", "segments: s2-c: starts at 3 s, ends at 2 s"),
        ("rec2 nan 2", "bad segment", "segments: s2-c: starts at nan s, ends at 2 s"),
        (
            "rec2 3",
            "bad segment",
            "segments: s2-c: must be <recording> <start s> <end s>, got 'rec2 3'",
        ),
        ("rec3 0 1", "different ids", "segments: s2-c: no recording rec3 in wav.scp"),
        (
            "rec2 0 1",
            "length differs",
            "s2-c: utt2num_samples says 40000 samples, the audio has 16000 at 16000 Hz",
        ),
    ],
)
def test_each_bad_segment_is_named(segmented, segment, name, message):
    edit(segmented, "segments", s2_c=segment)
    assert check(segmented) == {name: [message]}


def test_a_recording_without_a_segment_is_a_remark(segmented):
    edit(segmented, "segments", s1_b="rec2 2 -1")
    assert check(segmented) == {"unused recording": ["wav.scp: no segment is of recording rec1"]}


def test_a_recording_that_is_gone_is_told_of_each_of_its_utterances(segmented):
    (segmented / "rec2.wav").unlink()
    assert [m.split(":")[0] for m in check(segmented)["no audio"]] == ["s1-a", "s2-c"]


def test_more_tokens_than_frames_are_found_with_and_without_lengths(folder, tmp_path):
    texts = ["yes no maybe"]
    tokenizer = write_tokens(train(texts, "char", 0, "t"), tmp_path / "tokens")
    edit(folder, "text", s1_a="yes no " * 10)
    found = {"more tokens than frames": ["s1-a: 70 tokens, 24 frames of audio"]}
    assert check(folder, tokenizer=tokenizer) == found
    (folder / "utt2num_samples").unlink()
    assert check(folder, tokenizer=tokenizer) == found


def test_characters_outside_the_expected_are_counted_with_an_example(folder):
    edit(folder, "text", s1_a="yés no", s1_b="éé no!")
    report = Report(folder=folder)
    seen = check_folder(report, tokenizer=None, expected=set(TEXT), nj=1, decode=False)
    assert seen - {" "} == set("yesnoé!")
    assert {c: (f.count, f.example) for c, f in report.characters.items()} == {
        "é": (3, "s1-a"),
        "!": (1, "s1-b"),
    }
    assert report.found["unexpected character"].messages == [
        "text: s1-a: unexpected é",
        "text: s1-b: unexpected ! é",
    ]
    assert report.problems == []


def test_the_first_directory_tells_which_characters_are_expected(tmp_path, capsys):
    for name in ("train", "dev"):
        write_clean(tmp_path / name)
    edit(tmp_path / "dev", "text", s2_c="jo no")
    main([str(tmp_path / "train"), str(tmp_path / "dev")])
    shown = capsys.readouterr().out
    assert "characters: j (U+006A) 1 times, first in s2-c" in shown
    (tmp_path / "all").write_text("yes no\nj\n")
    main([str(tmp_path / "dev"), "--characters", str(tmp_path / "all")])
    assert "no problems, no remarks" in capsys.readouterr().out


def plant_many(folder):
    for name in ("a duplicate", "a missing file", "not UTF-8"):
        DEFECTS[name][0](folder)


@pytest.mark.parametrize("nj", [1, 2])
def test_what_is_found_does_not_depend_on_the_number_of_processes(
    folder, tmp_path, monkeypatch, capsys, nj
):
    monkeypatch.setattr("local.validate_data.RECORDINGS_PER_TASK", {False: 1, True: 1})
    plant_many(folder)
    with pytest.raises(SystemExit) as stop:
        main([str(folder), "--nj", str(nj), "--list", str(tmp_path / "list.tsv")])
    assert stop.value.code == 1
    assert (tmp_path / "list.tsv").read_text() == (
        "utterance\treason\n"
        f"\t{folder}: {folder}/text:5: not UTF-8: invalid start byte\n"
        f"s1-b\t{folder}: s1-b: No such file or directory: {folder}/s1-b.wav\n"
        f"s2-c\t{folder}: text: duplicate key 's2-c'\n"
        f"s3-d\t{folder}: s3-d is in text, not in wav.scp\n"
    )
    shown = capsys.readouterr().out
    for line in ("duplicate", "no audio", "bad line", "different ids"):
        assert line in shown
    assert shown.endswith("4 problems, no remarks\n")


def test_a_folder_that_is_not_there_is_one_line(folder, capsys):
    with pytest.raises(SystemExit) as stop:
        run(lambda: main([str(folder), str(folder / "none")]))
    assert stop.value.code == 1
    assert capsys.readouterr().err.endswith(f"error: no such folder: {folder}/none\n")


def test_the_shell_script_hands_options_and_status_through(folder, shell):
    assert shell("local/validate_data_dir.sh", folder).returncode == 0
    (folder / "s1-b.wav").unlink()
    done = shell("local/validate_data_dir.sh", folder)
    assert done.returncode == 1
    assert "no audio" in done.stdout
    done = shell("local/validate_data_dir.sh", folder, "--token", "x")
    assert done.returncode == 2
    assert "unknown option '--token', did you mean '--tokens'?" in done.stderr


def test_help_explains_every_check(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in (*PROBLEMS, *REMARKS):
        assert f"  {name} " in shown


def test_lines_are_sorted_whether_they_fit_into_memory_or_not(monkeypatch):
    lines = ["b", "a\tx", "Z", "", "ä", "a", "b"]
    for most in (1, 3, 100):
        monkeypatch.setattr("local.corpora.sorting.PIECE_LINES", most)
        assert list(sorted_lines(lines)) == sorted(lines)
