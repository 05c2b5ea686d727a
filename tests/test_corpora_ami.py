"""AMI from its own files: headsets and the distant microphone, with NXT XML annotations."""

import shutil

import numpy as np
import pytest
from toy_ami import (
    LENGTH_S,
    SETS,
    SPACING_S,
    TEXTS,
    WORD_S,
    defects,
    excluded_of_those_there,
    make_ami,
    prepare,
)
from toy_lhotse import noise

from espnet_local.audio import AudioReader
from espnet_local.files import read_table
from local.corpora.ami import AmiCorpus
from local.corpora.utterance import Utterance
from local.corpora.validate import validate

WORD = round(WORD_S * 16_000)


def test_headsets_become_sets_of_the_asr_partition_with_the_samples_of_their_speaker(tmp_path):
    out = prepare(tmp_path, make_ami(tmp_path / "ami", defects=False))
    assert [len(read_table(out / name / "text")) for name in SETS] == [40, 20, 20]
    texts = read_table(out / "dev/text")
    assert [texts[f"ES2011a-2-{k}"] for k in range(5)] == list(TEXTS)
    assert read_table(out / "dev/utt2spk")["ES2011a-2-0"] == "MEE202"
    reader = AudioReader(out / "dev/wav.scp")
    for channel in range(4):
        # "Mm-hmm" in the third segment, after a laugh of 0.2 s.
        start = round((1.2 + 0.1 * channel + 2 * SPACING_S) * 16_000)
        recorded = noise(LENGTH_S, 20 + channel)
        np.testing.assert_allclose(
            reader[f"ES2011a-{channel}-3"], recorded[start : start + WORD], atol=2 / 32768
        )


def test_words_have_their_times_from_the_utterances_start(tmp_path):
    out = prepare(tmp_path, make_ami(tmp_path / "ami", defects=False))
    lines = (out / "test/words.ctm").read_text().splitlines()
    assert [line for line in lines if line.startswith("ES2004a-0-2 ")] == [
        "ES2004a-0-2 1 0.000 0.500 THAT'S",
        "ES2004a-0-2 1 0.500 0.500 A",
        "ES2004a-0-2 1 1.000 0.250 T",
        "ES2004a-0-2 1 1.250 0.250 V",
        "ES2004a-0-2 1 1.500 0.500 REMOTE",
    ]


def test_the_distant_microphone_hears_every_speaker(tmp_path):
    out = prepare(tmp_path, make_ami(tmp_path / "ami", mic="sdm", defects=False), "--mic", "sdm")
    texts = read_table(out / "dev/text")
    assert sorted(texts.values()) == sorted(TEXTS * 4)
    reader = AudioReader(out / "dev/wav.scp")
    speakers = read_table(out / "dev/utt2spk")
    assert set(speakers.values()) == {"MEE200", "FEE201", "MEE202", "FEE203"}
    recorded = noise(LENGTH_S, 20)
    for name, text in texts.items():
        if text == "OKAY":
            channel = int(speakers[name][-1])
            start = round((1.2 + 0.1 * channel) * 16_000)
            np.testing.assert_allclose(reader[name], recorded[start : start + WORD], atol=2 / 32768)


@pytest.mark.parametrize("mic", ["ihm", "sdm"])
def test_what_lhotses_prepare_ami_gives_on_files_without_defects_is_the_same(tmp_path, mic):
    from lhotse.recipes.ami import prepare_ami

    folder = make_ami(tmp_path / "ami", mic=mic, defects=False)
    made = prepare_ami(
        folder, mic=mic, partition="full-corpus-asr", normalize_text="kaldi",
        max_words_per_segment=30, merge_consecutive=True,
    )  # fmt: skip
    corpus = AmiCorpus(folder=folder, mic=mic)
    for name in SETS:
        theirs = sorted(
            (s.recording_id, s.speaker, s.text, round(s.duration * 16_000), s.id * (mic == "ihm"))
            for s in made[name]["supervisions"]
        )
        ours = sorted(
            (i.id.split("-")[0], i.speaker, i.text, len(i.samples), i.id * (mic == "ihm"))
            for i in corpus.items(name, 1)
            if isinstance(i, Utterance)
        )
        assert ours == theirs


def test_every_defect_is_listed_with_its_reason(tmp_path, capsys):
    out = prepare(tmp_path, make_ami(tmp_path / "ami"))
    left_out = [f"{m}-{k}" for m in ("ES2002a-3", "EN2001a-0") for k in range(5)]
    assert excluded_of_those_there(out / "train") == {
        **defects(),
        **{u: f"no readable {u[:7]}.Headset-{u[8]}.wav" for u in left_out},
        "ES2002a.Headset-3.wav": "not readable as audio: Format not recognised.",
        "ES2002a-2-5": "segment ends at 121.9 s, its recording at 30.00 s",
        "EN2001a.Headset-2.wav": "no annotations of this headset",
        "EN2001a.Headset-3.wav": "no annotations of this headset",
    }
    assert excluded_of_those_there(out / "dev") == {}
    texts = read_table(out / "train/text")
    assert texts["ES2002a-0-5"] == "KEPT"
    assert texts["ES2002a-0-4"] == "UM THE CAF IS GR GREAT"  # no accents in Kaldi's rule either
    missing = (out / "train/excluded.tsv").read_text()
    assert "ES2005a\tno ES2005a.Headset-<n>.wav in corpus_dir\n" in missing
    assert "train: 134 of 136 meetings are not there" in capsys.readouterr().err


def test_a_missing_headset_does_not_give_its_neighbours_words_to_others(tmp_path):
    out = prepare(tmp_path, make_ami(tmp_path / "ami"))
    samples = AudioReader(out / "train/wav.scp")["EN2001a-1-0"]
    start = round(1.3 * 16_000)
    recorded = noise(LENGTH_S, 11)[start : start + WORD]
    np.testing.assert_allclose(samples, recorded, atol=2 / 32768)
    assert read_table(out / "train/utt2spk")["EN2001a-1-0"] == "FEE101"


@pytest.mark.parametrize("layout", ["zip", "top"])
def test_annotations_may_be_a_zip_or_stand_at_the_top(tmp_path, layout):
    folder = make_ami(tmp_path / "ami", defects=False, as_zip=layout == "zip")
    if layout == "top":
        for path in (folder / "ami_public_manual_1.6.2").iterdir():
            path.rename(folder / path.name)
    before = sorted(folder.rglob("*"))
    assert validate(prepare(tmp_path, folder) / "dev").utterances == 20
    assert sorted(folder.rglob("*")) == before  # lhotse would unpack beside the zip


def test_the_result_does_not_depend_on_the_number_of_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.UTTERANCES_PER_TASK", 12)
    folder = make_ami(tmp_path / "ami")
    found = [
        [
            (i.id, i.samples.sum() if isinstance(i, Utterance) else i.reason)
            for i in AmiCorpus(folder=folder).items("train", nj)
        ]
        for nj in (1, 2)
    ]
    assert found[0] == found[1]


def test_a_corpus_is_prepared_once_and_again_when_an_annotation_changes(tmp_path, capsys):
    folder = make_ami(tmp_path / "ami", defects=False)
    prepare(tmp_path, folder)
    capsys.readouterr()
    prepare(tmp_path, folder)
    assert "unchanged, skipped: out/test: 20 utterances" in capsys.readouterr().err
    path = folder / "ami_public_manual_1.6.2/words/ES2004a.B.words.xml"
    path.write_text(path.read_text().replace("Okay", "Right"))
    out = prepare(tmp_path, folder)
    assert "skipped" not in capsys.readouterr().err
    assert read_table(out / "test/text")["ES2004a-1-0"] == "RIGHT"


def test_debug_reads_the_audio_of_a_sliver_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.DEBUG_SIZES", {"train": 6, "dev": 3, "test": 3})
    monkeypatch.setattr("local.corpora.ami.DEBUG_MEETINGS", 1)
    folder = make_ami(tmp_path / "ami", defects=False)
    for path in folder.rglob("ES2002a.Headset-?.wav"):
        path.write_text("unread")  # EN2001a stands after it in the partition
    corpus = AmiCorpus(folder=folder, debug=True)
    assert all(not isinstance(i, Utterance) for i in corpus.items("train", 1))
    assert sum(isinstance(i, Utterance) for i in corpus.items("dev", 1)) == 3


def test_wrong_folders_are_said_before_anything_is_made_and_nothing_is_downloaded(
    tmp_path, monkeypatch
):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    folder = make_ami(tmp_path / "ami", defects=False)
    with pytest.raises(FileNotFoundError, match="corpus_dir has no <meeting>.Array1-01.wav"):
        prepare(tmp_path, folder, "--mic", "sdm", "--check")
    with pytest.raises(ValueError, match="mic must be one of ihm, sdm, got 'sdn', did you mean"):
        prepare(tmp_path, folder, "--mic", "sdn", "--check")
    with pytest.raises(FileNotFoundError, match="corpus_dir is no folder"):
        prepare(tmp_path, tmp_path / "none", "--check")
    shutil.rmtree(folder / "ami_public_manual_1.6.2/segments")
    with pytest.raises(FileNotFoundError, match=r"no manual annotations \(ami_public_manual_1"):
        prepare(tmp_path, folder)
    assert not (tmp_path / "out").exists()


def test_a_set_without_a_meeting_is_one_line(tmp_path):
    folder = make_ami(tmp_path / "ami", defects=False)
    shutil.rmtree(folder / "wav_db/ES2011a")
    with pytest.raises(ValueError, match="out dev: no utterance is left of 18 .*no ES2011a.Head"):
        prepare(tmp_path, folder)


def test_meetings_xml_that_is_damaged_is_one_line(tmp_path):
    folder = make_ami(tmp_path / "ami", defects=False)
    (folder / "ami_public_manual_1.6.2/corpusResources/meetings.xml").write_text("<a>")
    with pytest.raises(ValueError, match=r"meetings.xml: no element found"):
        prepare(tmp_path, folder)
