"""Manifests of a user's own, good and bad."""

import json
import os
from functools import partial

import numpy as np
import pytest
import soundfile
from toy_manifest import (
    COUNTS,
    WORDS,
    excluded,
    prepare,
    sound,
    write_nemo,
    write_rows,
    write_table,
)

from espnet_local.audio import AudioReader
from espnet_local.files import read_table
from local.corpora.manifest import ManifestCorpus
from local.corpora.utterance import SETS


@pytest.fixture
def rows(tmp_path):
    return partial(write_rows, tmp_path / "own")


def corpus_ids(path, set_name="train"):
    return [item.id for item in ManifestCorpus(path=path).items(set_name, 1)]


def all_ids(path):
    return sorted(i for name in SETS for i in corpus_ids(path, name))


def test_a_nemo_folder_becomes_three_sets_and_each_defect_is_listed(tmp_path):
    out = prepare(write_nemo(tmp_path / "own"), tmp_path / "out")
    sizes = {name: len(read_table(out / name / "text")) for name in SETS}
    assert sizes == {**COUNTS, "train": COUNTS["train"] + 1}
    assert excluded(out / "train") == {
        "train-a-train00": (
            "a second row of this id, at train_manifest.json:14; "
            "that at train_manifest.json:1 is kept"
        ),
        "train-a-gone": f"no such file {tmp_path}/own/clips/gone.wav",
        "train_manifest.json:16": "empty transcript",
        "train_manifest.json:17": "offset must be a number >= 0, got -1.5",
        "train-a-train00-00099000": excluded(out / "train")["train-a-train00-00099000"],
        "train_manifest.json:19": excluded(out / "train")["train_manifest.json:19"],
        "train_manifest.json:20": "no audio_filepath",
    }
    reasons = excluded(out / "train")
    assert "its recording at" in reasons["train-a-train00-00099000"]
    assert reasons["train_manifest.json:19"].startswith("not JSON: Unterminated string")
    assert excluded(out / "dev") == excluded(out / "test") == {}
    assert read_table(out / "dev/utt2spk")["dev-a-dev00"] == "dev-a"


def test_a_piece_is_cut_by_offset_and_duration_and_any_rate_becomes_16_khz(tmp_path):
    folder = write_nemo(tmp_path / "own")
    out = prepare(folder, tmp_path / "out")
    reader = AudioReader(out / "train/wav.scp")
    whole, rate = soundfile.read(folder / "clips/train00.wav", dtype="float32")
    assert rate == 16_000
    piece = reader["train-a-train00-00000400"]
    np.testing.assert_array_equal(piece, whole[6400:19_200])
    for line in (folder / "train_manifest.json").read_text().splitlines()[:3]:
        row = json.loads(line)
        name = f"{row['speaker']}-{row['audio_filepath'][6:-4]}"
        assert abs(len(reader[name]) / 16_000 - row["duration"]) < 1e-3


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_table_with_a_column_for_the_split_becomes_three_sets(tmp_path, suffix):
    path = write_table(tmp_path / "own" / f"table{suffix}")
    out = prepare(path, tmp_path / "out")
    assert {name: len(read_table(out / name / "text")) for name in SETS} == COUNTS
    assert list(read_table(out / "dev/utt2spk")) == [f"dev_{i}" for i in range(4)]
    assert excluded(out / "train") == {
        "train_0": (
            f"a second row of this id, at table{suffix}:22; that at table{suffix}:2 is kept"
        ),
        "gone": f"no such file {tmp_path}/own/clips/gone.wav",
        "other": f"table{suffix}:25: split 'invalidated' is not the name of a set",
        f"table{suffix}:26": "2 fields, the head line has 5",
    }
    assert excluded(out / "dev") == {f"table{suffix}:24": "empty transcript"}


def test_the_same_rows_prepare_the_same_for_any_number_of_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.UTTERANCES_PER_TASK", 3)
    folder = write_nemo(tmp_path / "own")
    one, three = (
        [(item.id, getattr(item, "text", None)) for item in corpus.items("train", nj)]
        for corpus, nj in ((ManifestCorpus(path=folder), 1), (ManifestCorpus(path=folder), 3))
    )
    assert one == three


@pytest.mark.parametrize(
    "row",
    [
        {"path": "a.wav", "text": "one two"},
        {"audio": {"path": "a.wav", "sampling_rate": 16_000}, "sentence": "one two"},
        {"file": "a.wav", "transcription": "one two"},
        {"file_name": "a.wav", "transcript": "one two"},
    ],
)
def test_columns_are_found_under_their_usual_names(tmp_path, row):
    soundfile.write(tmp_path / "a.wav", sound(["one", "two"]), 16_000)
    for name in SETS:
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (item,) = ManifestCorpus(path=tmp_path).items("train", 1)
    assert (item.id, item.speaker, item.text) == ("a", "a", "one two")
    np.testing.assert_allclose(item.samples, sound(["one", "two"]), atol=1e-4)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "wavfile,text",
            r"no column for the audio \(audio_filepath, .*\); there are wavfile, text",
        ),
        ("path,words", r"no column for the text \(text, .*\); there are path, words"),
        ("path;text", r"no column for the audio .*there are path;text"),
    ],
)
def test_a_missing_column_is_an_error_that_lists_those_there_are(tmp_path, head, message):
    row = "a.wav;one" if ";" in head else "a.wav,one"
    (tmp_path / "all.csv").write_text(f"{head}\n{row}\n")
    with pytest.raises(ValueError, match=message) as caught:
        prepare(tmp_path / "all.csv", tmp_path / "out", "--check")
    assert str(caught.value).startswith(f"{tmp_path}/all.csv: ")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("all.txt", "x", r"all.txt: must end in one of .jsonl, .json, .csv, .tsv"),
        ("all.json", '[{"path": "a.wav", "text": "x"}]', "all.json: a JSON list, must be JSON li"),
        ("all.jsonl", "", "all.jsonl: no readable row"),
        ("all.csv", "", "all.csv: no readable row"),
        ("all.csv", "path,text\n" + "a" * 200_000 + ",x\n", "all.csv:2: field larger than"),
        ("all.csv", "path,text\na.wav,x\n", "need 3 usable utterances or more, 0"),
        ("all.csv", "path,text,split\na.wav,x,train\n", "no usable row of split dev or .* train 1"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_an_error_naming_it(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_set_or_with_two_files_for_one_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ManifestCorpus(path=tmp_path / "nowhere")
    folder = write_nemo(tmp_path / "own")
    (folder / "valid.csv").write_text("path,text\n")
    with pytest.raises(ValueError, match="2 files for dev: dev_manifest.json, valid.csv"):
        ManifestCorpus(path=folder)
    (folder / "valid.csv").unlink()
    (folder / "dev_manifest.json").unlink()
    with pytest.raises(ValueError, match=r"no file for dev \(dev or validation .* there are test_"):
        ManifestCorpus(path=folder)


def test_files_of_one_name_get_ids_that_do_not_depend_on_their_order(rows):
    ones = [{"path": f"{folder}/x.wav", "text": "one", "speaker": "s"} for folder in "abc"]
    forwards = all_ids(rows(*ones))
    assert len(set(forwards)) == 3
    assert all(name.startswith("s-x-") for name in forwards)
    assert all_ids(rows(*ones[::-1])) == forwards


def test_ids_and_speakers_fit_kaldis_tables_and_file_names(rows, tmp_path):
    many = [
        {"path": f"{i}.wav", "text": "one", "id": f"a b/{i}\t", "speaker": "Ann Lee"}
        for i in range(5)
    ]
    out = prepare(rows(*many), tmp_path / "out", "--audio_format", "wav")
    speakers = {k: v for name in SETS for k, v in read_table(out / name / "utt2spk").items()}
    assert speakers == {f"a_b_{i}": "Ann_Lee" for i in range(5)}


def test_a_speakers_name_is_put_before_the_files_once(rows):
    made = [
        {"path": "s1-a.wav", "text": "one", "speaker": "s1"},
        {"path": "b.wav", "text": "one", "speaker": "s1"},
        {"path": "c.wav", "text": "one", "speaker": 7},
        {"path": "d.wav", "text": "one"},
    ]
    assert all_ids(rows(*made)) == ["7-c", "d", "s1-a", "s1-b"]


def test_rows_without_a_speaker_are_counted_in_the_log(rows, tmp_path, capsys):
    many = [{"path": f"{i}.wav", "text": "one"} for i in range(4)]
    prepare(rows(*many, {"path": "x.wav", "text": "one", "speaker": "s"}), tmp_path / "out")
    said = capsys.readouterr().err
    assert "all.jsonl: 4 of 5 rows without a speaker; each is a speaker of its own" in said
    assert "all.jsonl: audio in 'path', text in 'text', speaker in 'speaker'" in said
    assert "held out single utterances (speakers known: 1): dev 1 of 5" in said


def test_whole_speakers_are_held_out_where_there_are_ten(rows, tmp_path, capsys):
    many = [
        {"path": f"{speaker}-{i}.wav", "text": "one", "speaker": f"s{speaker}"}
        for speaker in range(10)
        for i in range(2)
    ]
    out = prepare(rows(*many), tmp_path / "out")
    speakers = [set(read_table(out / name / "spk2utt")) for name in SETS]
    assert [len(found) for found in speakers] == [8, 1, 1]
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]
    said = capsys.readouterr().err
    assert "held out whole speakers (speakers known: 10): dev 2 of 20" in said


def test_a_file_is_in_one_set_only(rows, tmp_path):
    pieces = [
        {"path": f"{i % 20}.wav", "text": "one", "offset": 0.1 * (i // 20), "duration": 0.4}
        for i in range(80)
    ]
    corpus = ManifestCorpus(path=rows(*pieces))
    files = [{segment.audio for segment in corpus.listed(name).segments} for name in SETS]
    assert sum(map(len, files)) == len(set.union(*files)) == 20
    with pytest.raises(ValueError, match="need 3 audio files or more.*got 2; name the sets"):
        ManifestCorpus(
            path=rows(*[{**row, "path": f"{i % 2}.wav"} for i, row in enumerate(pieces)])
        )


def test_a_speaker_is_held_out_by_the_name_that_is_written(rows, tmp_path):
    many = [
        {"path": f"{i}.wav", "text": "one", "speaker": name.format(i // 2)}
        for i, name in enumerate(["spk {}", "spk_{}", "J\u00f5e{}", "Jo\u0303e{}"] * 8)
    ]
    out = prepare(rows(*many), tmp_path / "out")
    speakers = [set(read_table(out / name / "spk2utt")) for name in SETS]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 16


def test_a_row_of_another_set_in_the_file_of_train_is_listed(tmp_path, caplog):
    soundfile.write(tmp_path / "a.wav", sound(["one"]), 16_000)
    for name in SETS:
        row = {"path": "a.wav", "text": "one", "id": name, "split": name}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    with (tmp_path / "train.jsonl").open("a") as stream:
        stream.write(json.dumps({"path": "a.wav", "text": "x", "id": "x", "split": "eval"}) + "\n")
    corpus = ManifestCorpus(path=tmp_path)
    found = corpus.listed("train")
    assert [segment.id for segment in found.segments] == ["train"]
    (listed,) = found.exclusions
    assert (listed.id, listed.reason) == ("x", "train.jsonl:2: split 'eval' in the file of train")
    with caplog.at_level("INFO"):
        list(corpus.items("train", 1))
    assert f"1 audio files are in more than one set, such as {tmp_path}/a.wav" in caplog.text


def test_one_file_written_in_two_ways_is_one(rows):
    once = [{"path": f"{i}.wav", "text": "one"} for i in range(4)]
    path = rows(*once, {"path": "./3.wav", "text": "one", "offset": 0.1})
    assert all_ids(path) == ["0", "1", "2", "3", "3-00000100"]
    path = rows(*once, {"path": "./3.wav", "text": "one"})
    assert all_ids(path) == ["0", "1", "2", "3", "3"]  # the second is an exclusion


def test_audio_without_sound_is_not_held_out(rows):
    path = rows(*[{"path": f"{i}.wav", "text": "one"} for i in range(8)])
    for name in ("dev", "test"):
        for found in corpus_ids(path, name):
            soundfile.write(path.parent / f"{found}.wav", np.zeros(0), 16_000)
    for name in ("dev", "test"):
        assert [hasattr(item, "text") for item in ManifestCorpus(path=path).items(name, 1)] == [
            True
        ]


def test_missing_audio_is_not_held_out(rows):
    path = rows(*[{"path": f"{i}.wav", "text": "one"} for i in range(30)])
    before = {name: corpus_ids(path, name) for name in ("dev", "test")}
    for name in before["dev"] + before["test"]:
        (path.parent / f"{name}.wav").unlink()
    train = [item.id for item in ManifestCorpus(path=path).items("train", 1)]
    assert set(before["dev"] + before["test"]) < set(train)
    for name in corpus_ids(path, "dev") + corpus_ids(path, "test"):
        assert (path.parent / f"{name}.wav").exists()


def test_changed_rows_or_audio_change_the_identity(tmp_path):
    folder = write_nemo(tmp_path / "own")
    before = ManifestCorpus(path=folder).identity()
    assert before == ManifestCorpus(path=folder).identity()
    os.utime(folder / "clips/dev00.wav", ns=(1, 1))
    touched = ManifestCorpus(path=folder).identity()
    assert touched != before
    with (folder / "dev_manifest.json").open("a") as stream:
        stream.write("\n")
    assert ManifestCorpus(path=folder).identity() != touched


def test_debug_takes_a_sliver(rows):
    path = rows(*[{"path": f"{i:03d}.wav", "text": "one"} for i in range(100)])
    corpus = ManifestCorpus(path=path, debug=True)
    assert [corpus.size(name) for name in SETS] == [60, 5, 5]


def test_every_word_of_the_fixture_is_trained_on(tmp_path):
    out = prepare(write_table(tmp_path / "own/table.csv"), tmp_path / "out")
    texts = read_table(out / "train/text").values()
    assert {word for text in texts for word in text.split()} == set(WORDS)
