"""Digits of a data set laid out like FSDD, joined into utterances."""

import numpy as np
import pytest
import soundfile

from espnet_local.audio import AudioReader
from local.corpora import fsdd
from local.corpora.__main__ import main
from local.corpora.fsdd import DIGITS, FsddCorpus
from local.corpora.utterance import Exclusion, Utterance
from local.corpora.validate import validate

SPEAKERS = ("ann", "bob_b", "cay")


def tone(digit, speaker, index):
    """A recording that tells its digit, speaker and index by its length: they are all different."""
    length = 800 + 400 * digit + 4 * (SPEAKERS.index(speaker) * 20 + index)
    return 0.3 * np.sin(np.arange(length) * 0.3)


@pytest.fixture
def folder(tmp_path):
    recordings = tmp_path / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in (0, 4, 5, 9, 10, 11):
                path = recordings / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, tone(digit, speaker, index), 8000)
    return tmp_path / "fsdd"


def parts(corpus, set_name):
    items = list(corpus.items(set_name, nj=1))
    return (
        [item for item in items if isinstance(item, Utterance)],
        [item for item in items if isinstance(item, Exclusion)],
    )


def lengths(utterances):
    """Lengths of the words at 16 kHz, by which recordings are known."""
    return {round(word.duration_s * 16_000) for u in utterances for word in u.words}


@pytest.mark.parametrize("split", ["official", "speaker:bob_b"])
def test_no_recording_is_in_two_sets_and_each_is_used(folder, split):
    corpus = FsddCorpus(folder=folder, split=split)
    used = {name: lengths(parts(corpus, name)[0]) for name in ("train", "dev", "test")}
    assert not used["train"] & used["dev"]
    assert not used["train"] & used["test"]
    assert not used["dev"] & used["test"]
    assert sum(map(len, used.values())) == 10 * len(SPEAKERS) * 6


def test_the_official_split_goes_by_index(folder):
    corpus = FsddCorpus(folder=folder)
    recordings = corpus._names[0]
    by_index = {(r.index, corpus.set_of(r)) for r in recordings}
    assert by_index == {
        (0, "test"), (4, "test"), (5, "dev"), (9, "dev"), (10, "train"), (11, "train")
    }  # fmt: skip


def test_a_held_out_speaker_is_the_test_and_the_next_is_dev(folder):
    corpus = FsddCorpus(folder=folder, split="speaker:cay")
    speakers = {n: {u.speaker for u in parts(corpus, n)[0]} for n in ("train", "dev", "test")}
    assert speakers == {"test": {"cay"}, "dev": {"ann"}, "train": {"bob_b"}}


def test_utterances_hold_three_to_seven_digits_of_one_speaker_at_their_times(folder):
    utterances, excluded = parts(FsddCorpus(folder=folder, debug=True), "test")
    assert (len(utterances), excluded) == (12, [])
    for utterance in utterances:
        words = utterance.text.split()
        assert 3 <= len(words) <= 7
        assert set(words) <= set(DIGITS)
        assert [word.word for word in utterance.words] == words
        assert utterance.id.startswith(utterance.speaker + "-")
        assert np.abs(utterance.samples).max() <= 1
        end = 0
        for number, word in enumerate(utterance.words):
            start = round(word.start_s * 16_000)
            low, high = fsdd.GAP_S if number else fsdd.SILENCE_S
            assert low * 16_000 - 1 <= start - end <= high * 16_000
            assert np.abs(utterance.samples[end + 40 : start - 40]).max() < 0.01
            end = start + round(word.duration_s * 16_000)
            assert np.sqrt((utterance.samples[start:end] ** 2).mean()) > 0.05


def test_words_are_the_digits_of_their_recordings(folder):
    for utterance in parts(FsddCorpus(folder=folder, debug=True), "train")[0]:
        for word in utterance.words:
            length = round(word.duration_s * 8000)
            assert DIGITS[(length - 800) // 400] == word.word


def test_the_corpus_is_the_same_for_the_same_seed(folder):
    one = parts(FsddCorpus(folder=folder, debug=True), "dev")[0]
    two = parts(FsddCorpus(folder=folder, debug=True), "dev")[0]
    other = parts(FsddCorpus(folder=folder, debug=True, seed=1), "dev")[0]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(one, two, strict=True))
    assert [u.text for u in one] != [u.text for u in other]


def test_bad_recordings_are_listed_with_their_reason_and_the_rest_is_used(folder, tmp_path):
    recordings = folder / "recordings"
    (recordings / "0_ann_10.wav").write_bytes(b"")
    soundfile.write(recordings / "1_ann_10.wav", np.zeros((900, 2)), 8000)
    soundfile.write(recordings / "2_ann_10.wav", np.zeros(900), 11_025)
    cut = recordings / "3_ann_10.wav"
    cut.write_bytes(cut.read_bytes()[:-100])
    soundfile.write(recordings / "4_ann_10.wav", np.zeros(0), 8000)
    (recordings / "five_ann_10.wav").touch()
    out = tmp_path / "data"
    main(["--corpus", "fsdd", "--fsdd_dir", str(folder), "--debug", "--output", str(out)])
    assert (out / "train/excluded.tsv").read_text().splitlines() == [
        "utterance\treason",
        "0_ann_10.wav\tempty file",
        "1_ann_10.wav\t2 channels, expected 1",
        "2_ann_10.wav\t11025 Hz, expected 8000 Hz",
        "3_ann_10.wav\ttruncated, 100 bytes short of what its header says",
        "4_ann_10.wav\tempty audio",
        "five_ann_10.wav\tname is not <digit>_<speaker>_<index>.wav",
    ]
    assert validate(out / "train").utterances == 60
    assert (out / "dev/excluded.tsv").read_text() == "utterance\treason\n"
    assert len(AudioReader(out / "test/wav.scp")) == 12


def test_a_set_without_a_good_recording_is_an_error_and_leaves_no_set(folder, tmp_path):
    for path in (folder / "recordings").glob("*_[59].wav"):
        path.write_bytes(b"")
    out = tmp_path / "data"
    with pytest.raises(ValueError, match="no good recording for dev"):
        main(["--corpus", "fsdd", "--fsdd_dir", str(folder), "--debug", "--output", str(out)])
    assert not (out / "train").exists()
    assert not (out / ".done.json").exists()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("oficial", "must be official or speaker:<name>, got 'oficial', did you mean 'official'"),
        ("speaker:", "must be official or speaker:<name>, got 'speaker:'"),
        ("speaker:an", "one of ann, bob_b, cay, got 'an', did you mean 'ann'"),
    ],
)
def test_an_unknown_split_is_an_error(folder, split, message):
    with pytest.raises(ValueError, match=message):
        FsddCorpus(folder=folder, split=split)


def test_a_held_out_speaker_needs_two_others(folder):
    for path in (folder / "recordings").glob("*_cay_*"):
        path.unlink()
    with pytest.raises(ValueError, match="needs 3 speakers or more, got 2"):
        FsddCorpus(folder=folder, split="speaker:ann")


def test_a_folder_without_recordings_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="fsdd_dir has no such folder.*recordings"):
        FsddCorpus(folder=tmp_path)
    (tmp_path / "recordings").mkdir()
    with pytest.raises(ValueError, match="recordings holds no <digit>_<speaker>_<index>.wav file"):
        FsddCorpus(folder=tmp_path)


def test_a_changed_recording_changes_the_identity(folder):
    before = FsddCorpus(folder=folder).identity()
    assert before == FsddCorpus(folder=folder).identity()
    soundfile.write(folder / "recordings/0_ann_10.wav", np.zeros(900), 8000)
    assert before != FsddCorpus(folder=folder).identity()


def test_folder_and_split_are_checked_without_writing(folder, tmp_path):
    call = ["--corpus", "fsdd", "--output", str(tmp_path / "data"), "--check", "--fsdd_dir"]
    main([*call, str(folder)])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        main([*call, "/nonexist"])
    with pytest.raises(ValueError, match="got 'an', did you mean 'ann'"):
        main([*call, str(folder), "--fsdd_split", "speaker:an"])
    assert not (tmp_path / "data").exists()


def test_a_folder_named_like_a_recording_is_listed_in_plain_words(folder):
    (folder / "recordings/9_ann_12.wav").mkdir()
    excluded = parts(FsddCorpus(folder=folder, debug=True), "train")[1]
    assert [item.reason for item in excluded] == [
        f"Is a directory: {folder}/recordings/9_ann_12.wav"
    ]
