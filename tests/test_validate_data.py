"""The program that validates data directories: characters, tokens, lists, exit status, help."""

from tempfile import TemporaryFile
from unittest.mock import Mock

import pytest
from toy_data_dir import TEXT, append, check, edit, write_clean

from espnet_local.cli import run
from espnet_local.files import read_table, write_table
from local.corpora.report import PROBLEMS, REMARKS, Report
from local.corpora.sorting import sorted_lines
from local.corpora.validate import shared
from local.corpora.writer import invert
from local.tokens import train, write_tokens
from local.validate_data import Listing, check_folder, main


@pytest.fixture
def folder(tmp_path):
    write_clean(tmp_path / "train")
    return tmp_path / "train"


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


def test_ids_and_audio_of_an_earlier_directory_are_remarks(tmp_path, capsys):
    for name in ("train", "dev", "test"):
        write_clean(tmp_path / name)
    for name in ("text", "utt2spk", "utt2num_samples", "wav.scp"):
        for folder in ("dev", "test"):
            table = read_table(tmp_path / folder / name)
            values = dict(zip([f"{folder}-{n}" for n in (1, 2)] + ["s2-c"], table.values()))
            write_table(tmp_path / folder / name, values)
    edit(tmp_path / "dev", "wav.scp", dev_2=read_table(tmp_path / "train/wav.scp")["s1-b"])
    for folder in ("dev", "test"):
        utt2spk = read_table(tmp_path / folder / "utt2spk")
        write_table(tmp_path / folder / "spk2utt", invert(utt2spk))
    main([str(tmp_path / name) for name in ("train", "dev", "test")])
    shown = capsys.readouterr().out
    train, dev, test = (tmp_path / name for name in ("train", "dev", "test"))
    assert (
        f"{dev}: shared: text: s2-c: its id is in {train} too; "
        f"wav.scp: dev-2: its audio is in {train} too\n"
    ) in shown
    assert f"{test}: shared: text: s2-c: its id is in {train} too\n" in shown
    assert "no problems, 3 remarks" in shown
    assert [found.number for found in shared([train, dev, test])] == [1, 2, 1]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (["--characters", "{0}/latin"], 1, "{0}/latin: not UTF-8: invalid continuation byte"),
        (["--list", "{0}"], 2, "list must be a file, {0} is a folder"),
    ],
)
def test_a_bad_option_is_one_line_that_names_the_file(folder, capsys, change, status, message):
    (folder / "latin").write_bytes(b"caf\xe9s")
    with pytest.raises(SystemExit) as stop:
        run(lambda: main([str(folder), *(value.format(folder) for value in change)]))
    assert stop.value.code == status
    assert message.format(folder) in capsys.readouterr().err


def test_a_list_is_a_line_each_whatever_names_hold(folder, tmp_path):
    with Listing(tmp_path / "list.tsv") as listing:
        listing.add(folder, "s1-a", "gone\t\nnone \udce9")
    assert (tmp_path / "list.tsv").read_text().splitlines()[1:] == [
        f"s1-a\t{folder}: gone\\t\\nnone \\udce9"
    ]


def plant_many(folder):
    append(folder, "text", b"s2-c no\n")
    append(folder, "text", b"s3-d \xff\n")
    (folder / "s1-b.wav").unlink()


@pytest.mark.parametrize("nj", [1, 2])
def test_what_is_found_does_not_depend_on_the_number_of_processes(
    folder, tmp_path, monkeypatch, capsys, nj
):
    monkeypatch.setattr("local.validate_data.UTTERANCES_PER_TASK", {False: 1, True: 1})
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


def test_a_list_is_written_whole_or_not_at_all(folder, tmp_path):
    listed = tmp_path / "deep" / "list.tsv"
    main([str(folder), "--list", str(listed)])
    assert listed.read_text() == "utterance\treason\n"
    plant_many(folder)
    with pytest.raises(FileNotFoundError, match=r"none/bpe\.model|No such file"):
        main([str(folder), "--list", str(listed), "--tokens", str(tmp_path / "none")])
    assert listed.read_text() == "utterance\treason\n"
    assert list(listed.parent.iterdir()) == [listed]


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


@pytest.mark.parametrize(("most", "files"), [(1, 7), (3, 2), (100, 0)])
def test_lines_are_sorted_whether_they_fit_into_memory_or_not(monkeypatch, most, files):
    on_disk = Mock(wraps=TemporaryFile)
    monkeypatch.setattr("local.corpora.sorting.TemporaryFile", on_disk)
    monkeypatch.setattr("local.corpora.sorting.PIECE_LINES", most)
    lines = ["b", "a\tx", "Z", "", "ä", "a", "b"]
    assert list(sorted_lines(lines)) == sorted(lines)
    assert on_disk.call_count == files
