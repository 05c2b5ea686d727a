"""What all corpora share: the writer, the checks, the output folder, parallel work, the CLI."""

import json
import os
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from espnet_local.audio import AudioReader
from espnet_local.cli import run
from espnet_local.files import read_table
from local.arguments import ArgumentParser
from local.corpora.__main__ import main
from local.corpora.output import begin_partial, claimed, swap_in
from local.corpora.utterance import Exclusion, TimedWord, Utterance
from local.corpora.validate import validate
from local.corpora.workers import ordered_map
from local.corpora.writer import to_pcm, write_set


def utterance(name="s1-a", seconds=0.5, text="hello world", words=None):
    samples = np.random.default_rng(0).uniform(-1, 1, int(16_000 * seconds)).astype(np.float32)
    return Utterance(id=name, speaker=name.split("-")[0], samples=samples, text=text, words=words)


def write(folder, items, audio_format="flac.ark"):
    return write_set(
        folder, folder, items, audio_format=audio_format, name="toy train", total=len(items)
    )


GOOD = [
    utterance("s2-b"),
    utterance("s1-b", 1.0),
    utterance("s1-a", words=(TimedWord(word="hello", start_s=0.1, duration_s=0.2),)),
]


@pytest.mark.parametrize("audio_format", ["flac.ark", "wav", "flac"])
def test_what_is_written_is_valid_and_reads_back(tmp_path, audio_format):
    folder = tmp_path / "train"
    summary = write(folder, GOOD, audio_format)
    assert summary.line("toy/train") == "toy/train: 3 utterances, 0.0 min, 2 speakers, excluded 0"
    report = validate(folder)
    assert (report.utterances, report.problems) == (3, [])
    assert read_table(folder / "spk2utt") == {"s1": "s1-a s1-b", "s2": "s2-b"}
    assert read_table(folder / "utt2num_samples") == {
        "s1-a": "8000",
        "s1-b": "16000",
        "s2-b": "8000",
    }
    assert (folder / "words.ctm").read_text() == "s1-a 1 0.100 0.200 hello\n"
    reader = AudioReader(folder / "wav.scp")
    for item in GOOD:
        np.testing.assert_allclose(reader[item.id], item.samples, atol=1 / 32768)


def test_archives_can_be_read_by_kaldiio_as_espnet_does(tmp_path):
    write(tmp_path / "train", GOOD)
    rate, samples = kaldiio.load_scp(str(tmp_path / "train/wav.scp"))["s1-b"]
    assert rate == 16_000
    np.testing.assert_allclose(samples, GOOD[1].samples, atol=1 / 32768)


def test_sixteen_bit_samples_pass_unchanged_and_overshoot_goes_to_the_edge():
    pcm = np.array([0, 1, -1, 32767, -32768], np.int16)
    np.testing.assert_array_equal(to_pcm(pcm.astype(np.float32) / 32768), pcm)
    np.testing.assert_array_equal(to_pcm(np.array([1.2, -1.2], np.float32)), [32767, -32768])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (utterance("s1-x", text="  "), "empty transcript"),
        (utterance("s1-x", seconds=0), "empty audio"),
        (utterance("s1-x", seconds=0.05), "0.050 s, shorter than 0.1 s"),
        (utterance("s1-x", seconds=31), "31.0 s, longer than 30 s"),
        (Exclusion(id="s1-x", reason="no such file"), "no such file"),
    ],
)
def test_what_cannot_be_used_is_counted_and_listed(tmp_path, bad, reason):
    summary = write(tmp_path / "train", [bad, *GOOD])
    assert (summary.utterances, summary.excluded) == (3, 1)
    assert (tmp_path / "train/excluded.tsv").read_text() == f"utterance\treason\ns1-x\t{reason}\n"
    assert "s1-x" not in (tmp_path / "train/wav.scp").read_text()
    assert validate(tmp_path / "train").problems == []


def test_a_set_of_which_nothing_is_left_is_an_error(tmp_path):
    items = [Exclusion(id="a", reason="no such file")]
    with pytest.raises(
        ValueError, match=r"toy train: no utterance is left of 1 \(.*: a: no such file"
    ):
        write(tmp_path / "train", items)


def test_the_end_of_an_empty_set_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="toy train: the corpus has no utterance for this set"):
        write(tmp_path / "none", [])
    with pytest.raises(ValueError, match="mend them or take them out of the corpus"):
        write(tmp_path / "bad", [utterance(text="")])


def test_a_reason_is_one_line_of_utf_8_whatever_names_a_file_has(tmp_path):
    reason = "no such file caf\udce9/a\nb\tc\u2028.wav"
    write(tmp_path / "train", [Exclusion(id="x", reason=reason), *GOOD])
    assert (tmp_path / "train/excluded.tsv").read_text().splitlines()[1:] == [
        r"x	no such file caf\udce9/a\nb\tc\u2028.wav".replace(r"x\t", "x\t")
    ]
    with pytest.raises(ValueError, match=r"output '/caf\\udce9' is not UTF-8"):
        write_set(tmp_path / "dev", Path("/caf\udce9"), GOOD, audio_format="wav", name="x", total=3)


def test_an_id_too_long_for_a_file_is_left_out_of_files_not_of_an_archive(tmp_path):
    items = [*GOOD, utterance("x" * 251), utterance("x" * 252)]
    write(tmp_path / "a", items)
    assert "x" * 252 in read_table(tmp_path / "a/text")
    write(tmp_path / "b", items, "wav")
    assert "x" * 251 in read_table(tmp_path / "b/text")
    assert (tmp_path / "b/excluded.tsv").read_text().splitlines()[1:] == [
        "x" * 252 + "\tid cannot name a file (256 bytes); use --audio_format flac.ark"
    ]


def test_an_utterance_that_comes_twice_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="utterance 's2-b' comes twice"):
        write(tmp_path / "train", [*GOOD, GOOD[0]])


def test_an_id_with_a_slash_cannot_name_a_file_but_can_stand_in_an_archive(tmp_path):
    item = utterance("s1/x-y")
    write(tmp_path / "a", [item])
    with pytest.raises(ValueError, match="'s1/x-y' cannot name a file"):
        write(tmp_path / "b", [item], "wav")


def damage(folder, name, text):
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("text", "s1-a x\ns1-b y\n", "s2-b is in wav.scp, not in text"),
        ("text", "s1-a x\ns1-b\ns2-b z\n", "text: s1-b is empty"),
        ("utt2spk", "s1-b s1\ns1-a s1\ns2-b s2\n", "utt2spk is not sorted: s1-a stands after s1-b"),
        ("utt2spk", "s1-a s1\ns1-b s1\ns2-b s1\n", "spk2utt is not the inverse of utt2spk"),
        ("utt2spk", "s1-a s1\ns1-a s1\n", "duplicate key 's1-a'"),
        ("utt2num_samples", "s1-a 1\ns1-b 0\ns2-b 3\n", "s1-b must have a positive integer"),
        ("wav.scp", "s1-a no.wav\ns1-b no.wav\ns2-b no.wav\n", "s1-a: no such file no.wav"),
    ],
)
def test_a_damaged_folder_is_found_out(tmp_path, name, text, problem):
    write(tmp_path, GOOD)
    damage(tmp_path, name, text)
    report = validate(tmp_path)
    assert any(problem in line for line in report.problems)
    with pytest.raises(ValueError, match=str(tmp_path)):
        report.raise_if_bad()


def test_a_missing_table_is_found_out(tmp_path):
    write(tmp_path, GOOD)
    (tmp_path / "spk2utt").unlink()
    assert validate(tmp_path).problems == ["spk2utt is missing"]


def test_audio_is_looked_for_where_the_set_lies_before_it_is_moved(tmp_path):
    final = tmp_path / "final"
    write_set(tmp_path / "now", final, GOOD, audio_format="flac.ark", name="toy", total=len(GOOD))
    assert validate(tmp_path / "now", final).problems == []
    assert validate(tmp_path / "now").problems
    (tmp_path / "now").rename(final)
    assert validate(final).problems == []


def test_a_folder_of_others_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with (
        pytest.raises(ValueError, match=r"not made here \(thesis.txt\)"),
        claimed(tmp_path, "mini"),
    ):
        pass
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_folder_of_another_corpus_is_not_touched(tmp_path):
    with claimed(tmp_path, "fsdd"):
        pass
    with (
        pytest.raises(ValueError, match="holds the corpus 'fsdd', not 'mini'"),
        claimed(tmp_path, "mini"),
    ):
        pass


def test_two_runs_cannot_write_one_folder(tmp_path):
    with (
        claimed(tmp_path, "mini"),
        pytest.raises(ValueError, match="another run"),
        claimed(tmp_path, "mini"),
    ):
        pass
    with claimed(tmp_path, "mini"):
        pass


def test_token_lists_survive_new_sets(tmp_path):
    (tmp_path / "token_list").mkdir()
    for content in ("old", "new"):
        with claimed(tmp_path, "mini"):
            partial = begin_partial(tmp_path)
            (partial / "train").mkdir()
            (partial / "train/text").write_text(content)
            swap_in(tmp_path, ["train"])
    assert (tmp_path / "train/text").read_text() == "new"
    assert (tmp_path / "token_list").is_dir()
    assert not (tmp_path / ".partial").exists()


def test_what_a_killed_run_left_behind_goes(tmp_path):
    (begin_partial(tmp_path) / "train").mkdir()
    assert list(begin_partial(tmp_path).iterdir()) == []


def squares(numbers):
    return [number**2 for number in numbers]


def fail(numbers):
    raise ValueError(f"cannot do {numbers}")


def die(numbers):
    os._exit(7)


@pytest.mark.parametrize("nj", [1, 3])
def test_results_keep_the_order_of_the_tasks(nj):
    assert list(ordered_map(squares, [[1, 2], [], [3]], nj)) == [1, 4, 9]


def test_failure_and_death_of_a_worker_reach_the_caller():
    with pytest.raises(ValueError, match=r"cannot do \[1\]"):
        list(ordered_map(fail, [[1]], 2))
    with pytest.raises(ChildProcessError, match="died with status 7"):
        list(ordered_map(die, [[1]], 2))
    with pytest.raises(ValueError, match="nj must be >= 1, got 0"):
        list(ordered_map(squares, [], 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "mimi"], "got 'mimi', did you mean 'mini'?"),
        (["--corpus", "kaldi:"], "corpus must be one of"),
        (["--corpsu", "mini"], "unknown option '--corpsu', did you mean '--corpus'?"),
        (["--corpus", "mini", "--audio_format", "mp3"], "audio_format must be one of"),
        (["--corpus", "mini", "--nj", "0"], "nj must be >= 1, got 0"),
        (["--corpus", "mini", "--debu"], "unknown option '--debu', did you mean '--debug'?"),
        (["--corpus", "fsdd"], "corpus fsdd needs --fsdd_dir"),
        (["--corpus", "ami"], "corpus ami needs --corpus_dir"),
        (["--corpus", "ami:x"], "got 'ami:x', did you mean 'ami'?"),
        (["--corpus", "lhotse:"], "corpus must be one of"),
        (["--corpus", "lhotse:timit"], "corpus lhotse:timit needs --corpus_dir"),
        (["--corpus", "lhotse:./x", "--corpus_dir", "y"], "not of the folder lhotse:./x"),
        (["--corpus", "mini", "--mic", "sdm"], "--mic is of ami, not of mini"),
        (["--corpus", "kaldi:x", "--lang", "et"], "--lang is of mini and commonvoice, not of"),
        (["--corpus", "ami", "--cv_train", "train"], "--cv_train is of commonvoice, not of ami"),
        (["--corpus", "fsdd", "--parts", "a"], "--parts is of lhotse, not of fsdd"),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line_and_status_2(
    tmp_path, capsys, arguments, message
):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--output", str(tmp_path / "out")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_options_with_an_equals_sign_are_known():
    parser = ArgumentParser()
    parser.add_argument("--name")
    assert parser.parse_args(["--name=x"]).name == "x"


def test_an_unusable_request_is_one_line_and_status_1(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(lambda: main(["--corpus", "mini", "--lang", "xx", "--output", str(tmp_path / "o")]))
    assert stop.value.code == 1
    assert "language must be one of de, en, es, got 'xx'\n" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A Kaldi corpus of three small sets, with the working directory beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "dev", "test"):
        write(Path("src") / name, GOOD, "wav")
    return Path("src")


def test_a_corpus_is_prepared_once_and_again_when_its_source_changes(source, capsys):
    command = ["--corpus", "kaldi:src", "--output", "data/own"]
    main(command)
    first = json.loads(Path("data/own/.done.json").read_text())
    assert "own/train: 3 utterances, 0.0 min, 2 speakers, excluded 0" in capsys.readouterr().err
    assert read_table("data/own/train/wav.scp")["s1-a"].startswith("data/own/train/audio.ark:")
    main([*command, "--nj", "2"])
    assert "unchanged, skipped: own/train" in capsys.readouterr().err
    text = source / "train/text"
    text.write_text(text.read_text().replace("hello", "goodbye"))
    main(command)
    assert "skipped" not in capsys.readouterr().err
    assert read_table("data/own/train/text")["s1-a"] == "goodbye world"
    assert json.loads(Path("data/own/.done.json").read_text()) != first


def test_a_set_that_is_gone_is_made_again(source):
    command = ["--corpus", "kaldi:src", "--output", "data/own"]
    main(command)
    os.rename("data/own/dev", "gone")
    main(command)
    assert validate(Path("data/own/dev")).problems == []


def test_a_failure_leaves_the_finished_sets_as_they_were(source):
    command = ["--corpus", "kaldi:src", "--output", "data/own"]
    main(command)
    before = Path("data/own/.done.json").read_text()
    for path in (source / "test/audio").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="own test: no utterance is left of 3"):
        main(command)
    for name in ("train", "dev", "test"):
        assert validate(Path("data/own") / name).problems == []
    assert Path("data/own/.done.json").read_text() == before


def test_the_shell_wrapper_hands_options_and_status_through(shell, tmp_path):
    done = shell("local/data.sh", "--corpus", "mimi", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "got 'mimi', did you mean 'mini'?" in done.stderr
