"""A user's own Kaldi folders, good and bad."""

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_local.audio import AudioReader
from espnet_local.files import read_table, write_table
from local.corpora.__main__ import main
from local.corpora.kaldi_dir import KaldiCorpus
from local.corpora.validate import validate

SETS = ("train", "dev", "test")


def sine(seconds, rate, hertz=300):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


class Source:
    """A corpus under construction, with the same three sets."""

    def __init__(self, folder):
        self.folder = folder
        self.tables = {"wav.scp": {}, "text": {}, "utt2spk": {}, "segments": {}}

    def wav(self, name, samples, rate=16_000, **more):
        path = self.folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, **more)
        self.tables["wav.scp"][name] = path
        return path

    def utterance(self, name, text="hello"):
        self.tables["text"][name] = text
        self.tables["utt2spk"][name] = name.split("-")[0]

    def write(self):
        for set_name in SETS:
            for name, table in self.tables.items():
                if table or name != "segments":
                    write_table(self.folder / set_name / name, table)
        return self.folder


@pytest.fixture
def source(tmp_path):
    """One good utterance, to which a test adds others."""
    source = Source(tmp_path / "own")
    source.wav("s1-good", sine(0.5, 16_000))
    source.utterance("s1-good")
    return source


def prepare(source, *more):
    out = source.folder.parent / "out"
    main(["--corpus", f"kaldi:{source.write()}", "--output", str(out), *more])
    for name in SETS:
        assert validate(out / name).problems == []
    return out / "train"


def excluded(folder):
    lines = (folder / "excluded.tsv").read_text().splitlines()[1:]
    return dict(line.split("\t") for line in lines)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100])
def test_any_rate_becomes_16_khz(source, rate):
    source.wav("s1-a", sine(1.0, rate), rate)
    source.utterance("s1-a", "any  rate")
    train = prepare(source)
    samples = AudioReader(train / "wav.scp")["s1-a"]
    assert len(samples) == 16_000
    middle = slice(2000, -2000)  # resampling rings at the edges
    np.testing.assert_allclose(samples[middle], sine(1.0, 16_000)[middle], atol=0.01)
    assert read_table(train / "text")["s1-a"] == "any rate"


def test_segments_are_cut_from_recordings_and_archives(source, tmp_path):
    ramp = np.arange(16_000, dtype=np.int16)
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"rec": (16_000, ramp)}, scp=str(tmp_path / "scp"))
    source.tables["wav.scp"]["rec"] = read_table(tmp_path / "scp")["rec"]
    source.tables["segments"] = {
        "s2-a": "rec 0.25 0.5",
        "s2-b": "rec 0.5 -1",
        "s2-c": "rec 0.75 1.3",
        "s2-d": "rec 0.75 1.6",
        "s2-e": "rec 0.5 0.5",
        "s2-f": "rec -0.1 0.5",
        "s2-g": "nowhere 0 1",
    }
    for name in source.tables["segments"]:
        source.utterance(name)
    del source.tables["text"]["s1-good"], source.tables["wav.scp"]["s1-good"]
    train = prepare(source)
    reader = AudioReader(train / "wav.scp")
    assert {name: len(samples) for name, samples in reader.items()} == {
        "s2-a": 4000,
        "s2-b": 8000,
        "s2-c": 4000,
    }
    np.testing.assert_array_equal(reader["s2-a"] * 32768, ramp[4000:8000])
    assert excluded(train) == {
        "s2-d": "segment ends at 1.6 s, its recording at 1.00 s",
        "s2-e": "segment ends at 0.5 s, starts at 0.5 s",
        "s2-f": "segment starts at -0.1 s, before its recording",
        "s2-g": "no recording nowhere in wav.scp",
    }


def test_bad_audio_and_transcripts_are_listed_each_with_its_reason(source):
    stereo = np.stack([sine(0.5, 16_000)] * 2, axis=1)
    source.wav("s1-stereo", stereo)
    source.wav("s1-empty", stereo[:0, 0])
    source.wav("s1-zero", stereo[:, 0]).write_bytes(b"")
    cut = source.wav("s1-cut", sine(0.5, 16_000))
    cut.write_bytes(cut.read_bytes()[:-10])
    source.wav("s1-gone", stereo[:, 0]).unlink()
    source.wav("s1-short", sine(0.05, 16_000))
    source.wav("s1-long", sine(31, 8000), 8000)
    source.wav("s1-silent", sine(0.5, 16_000))
    source.wav("s1-nobody", sine(0.5, 16_000))
    for name in list(source.tables["wav.scp"]):
        source.utterance(name)
    source.tables["text"]["s1-silent"] = ""
    del source.tables["utt2spk"]["s1-nobody"]
    source.wav("s1-untold", sine(0.5, 16_000))
    source.utterance("s1-unheard")
    train = prepare(source)
    folder = source.folder
    assert excluded(train) == {
        "s1-stereo": f"{folder}/s1-stereo.wav: 2 channels, expected 1",
        "s1-empty": f"{folder}/s1-empty.wav: empty audio",
        "s1-zero": f"{folder}/s1-zero.wav: empty file",
        "s1-cut": f"{folder}/s1-cut.wav: truncated, 10 bytes short of what its header says",
        "s1-gone": f"no such file {folder}/s1-gone.wav",
        "s1-short": "0.050 s, shorter than 0.1 s",
        "s1-long": "31.0 s, longer than 30 s",
        "s1-silent": "empty transcript",
        "s1-nobody": "no speaker in utt2spk",
        "s1-untold": "audio without transcript",
        "s1-unheard": "transcript without audio",
    }
    assert list(read_table(train / "wav.scp")) == ["s1-good"]


@pytest.mark.parametrize("pipe", ["touch executed; sox a.mp3 -t wav - |", "| touch executed"])
def test_a_pipe_is_listed_and_never_run(source, pipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source.tables["wav.scp"]["s1-p"] = pipe
    assert excluded(prepare(source)) == {
        "s1-p": "pipes are not run, write the audio to files first"
    }
    assert not (tmp_path / "executed").exists()


def test_malformed_segments_and_recordings_that_none_names_are_listed(source):
    source.wav("rec", sine(1.0, 16_000))
    source.tables["segments"] = {
        "s1-a": "rec 0.5",
        "s1-b": "rec nan 1",
        "s1-c": "rec 0 inf",
        "s1-d": "rec 1.2 1.4",
        "s1-e": "rec 0 1",
    }
    for name in source.tables["segments"]:
        source.utterance(name)
    del source.tables["text"]["s1-good"]
    assert excluded(prepare(source)) == {
        "s1-a": "segment must be <recording> <start s> <end s>, got 'rec 0.5'",
        "s1-b": "segment's times must be numbers, got nan and 1.0",
        "s1-c": "segment's times must be numbers, got 0.0 and inf",
        "s1-d": "segment starts at 1.2 s, its recording ends at 1.00 s",
        "s1-good": "recording without segment",
    }


def test_a_missing_set_or_table_is_named(source, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"own/train/wav\.scp"):
        KaldiCorpus(folder=source.folder)
    folder = source.write()
    (folder / "test" / "utt2spk").unlink()
    with pytest.raises(FileNotFoundError, match=r"test/utt2spk"):
        KaldiCorpus(folder=folder)


def test_utterances_of_lines_that_differ_are_listed_and_lines_that_do_not_are_one(source, caplog):
    names = ("s1-text", "s1-speaker", "s1-audio", "s1-same")
    for name in names:
        source.wav(name, sine(0.5, 16_000))
        source.utterance(name)
    folder = source.write()
    tables = ("text", "utt2spk", "wav.scp", "text")
    for table, name, value in zip(tables, names, ("other", "s2", "b.wav", "hello")):
        with (folder / "train" / table).open("a") as stream:
            stream.write(f"{name} {value}\n")
    corpus = KaldiCorpus(folder=folder)
    assert f"{folder}/train/text: 1 lines stand there twice" in caplog.text
    items = list(corpus.items("train", 1))
    assert {item.id: getattr(item, "reason", None) for item in items} == {
        "s1-audio": "several lines in wav.scp that differ",
        "s1-good": None,
        "s1-same": None,
        "s1-speaker": "several lines in utt2spk that differ",
        "s1-text": "several lines in text that differ",
    }


def test_a_speaker_of_two_words_is_listed_and_a_mark_of_the_encoding_is_no_letter(source):
    for name in ("s0-first", "s1-two"):
        source.wav(name, sine(0.5, 16_000))
        source.utterance(name)
    source.tables["utt2spk"]["s1-two"] = "John Smith"
    folder = source.write()
    for name in ("text", "utt2spk", "wav.scp"):
        path = folder / "train" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    items = list(KaldiCorpus(folder=folder).items("train", 1))
    assert {item.id: getattr(item, "reason", None) for item in items} == {
        "s0-first": None,
        "s1-good": None,
        "s1-two": "speaker must be one word, got 'John Smith'",
    }


def test_segments_of_a_wav_that_is_cut_short_are_taken_up_to_there(source):
    path = source.wav("rec", sine(2.0, 16_000))
    path.write_bytes(path.read_bytes()[: 44 + 2 * 16_000])
    source.wav("whole", sine(1.0, 16_000))
    source.tables["segments"] = {
        "s1-before": "rec 0 1",
        "s1-beyond": "rec 0.5 1.2",
        "s1-end": "rec 0.5 -1",
        "s1-all": "rec 0 -1",
        "s1-over": "whole 0.5 1.2",
    }
    for name in source.tables["segments"]:
        source.utterance(name)
    del source.tables["text"]["s1-good"], source.tables["wav.scp"]["s1-good"]
    reason = f"{path}: truncated, 32000 bytes short of what its header says"
    train = prepare(source)
    assert excluded(train) == {"s1-all": reason, "s1-beyond": reason, "s1-end": reason}
    lengths = read_table(train / "utt2num_samples")
    assert lengths == {"s1-before": "16000", "s1-over": "8000"}


def test_debug_takes_a_sliver_spread_over_the_speakers(source):
    for number in range(100):
        name = f"s{number // 10}-{number:03d}"
        source.tables["wav.scp"][name] = source.tables["wav.scp"]["s1-good"]
        source.utterance(name)
    train = prepare(source, "--debug")
    assert len(read_table(train / "text")) == 60
    assert len(read_table(train.parent / "dev/spk2utt")) >= 9


def test_the_result_does_not_depend_on_the_number_of_jobs(source, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.UTTERANCES_PER_TASK", 2)
    for number in range(5):
        source.wav(f"s1-{number}", sine(0.2 + number / 10, 8000), 8000)
        source.utterance(f"s1-{number}")
    folder = source.write()
    lengths = []
    for nj in (1, 3):
        items = KaldiCorpus(folder=folder).items("train", nj)
        lengths.append([(item.id, len(item.samples)) for item in items])
    assert lengths[0] == lengths[1]
    assert len(lengths[0]) == 6


def test_changed_audio_changes_the_identity(source):
    folder = source.write()
    before = KaldiCorpus(folder=folder).identity()
    assert before == KaldiCorpus(folder=folder).identity()
    source.wav("s1-good", sine(0.6, 16_000))
    assert before != KaldiCorpus(folder=folder).identity()


def test_two_folders_of_one_name_do_not_overwrite_each_other(source, tmp_path):
    first = source.write()
    other = Source(tmp_path / "elsewhere" / first.name)
    other.tables = source.tables
    out = tmp_path / "out"
    main(["--corpus", f"kaldi:{first}", "--output", str(out)])
    made = (out / ".done.json").read_text()
    for more in ([], ["--check"]):
        with pytest.raises(ValueError, match="out holds the corpus") as caught:
            main(["--corpus", f"kaldi:{other.write()}", "--output", str(out), *more])
        for word in (f"'kaldi:{first}', not 'kaldi:{other.folder}'", "ln -s", f"move {out} away"):
            assert word in str(caught.value)
    assert (out / ".done.json").read_text() == made


def test_the_same_folder_under_another_spelling_is_the_same(source, tmp_path, monkeypatch):
    folder = source.write()
    monkeypatch.chdir(tmp_path)
    main(["--corpus", f"kaldi:{folder}", "--output", "out"])
    main(["--corpus", "kaldi:../" + f"{tmp_path.name}/{folder.name}/", "--output", "out"])


def test_a_folder_that_does_not_tell_its_source_is_believed(source, tmp_path):
    out = tmp_path / "out"
    main(["--corpus", f"kaldi:{source.write()}", "--output", str(out)])
    (out / ".corpus.json").write_text('{"corpus": "kaldi"}')
    main(["--corpus", f"kaldi:{source.folder}", "--output", str(out), "--check"])


def test_wrong_paths_everywhere_are_said_first_with_their_number(source, tmp_path):
    """Three exclusions of the tables come first, and were all that was told."""
    source.wav("s1-good", sine(0.5, 16_000)).unlink()
    for number in range(7):
        name = f"s2-{number}"
        source.tables["wav.scp"][name] = f"/wrong path/{name} a.wav"
        source.utterance(name)
    for name in ("a", "b", "c"):
        source.tables["text"][name] = "unheard"
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="out train: no utterance is left of 11") as caught:
        main(["--corpus", f"kaldi:{source.write()}", "--output", str(out)])
    message = str(caught.value)
    shown, listed = message.split("(", 1)[1].rsplit("); see ", 1)
    first, second = shown.split("; ")
    assert first.endswith(".wav, 8 times")
    assert "no such file" in first
    assert second.endswith(": transcript without audio, 3 times")
    with open(listed) as stream:
        assert len(stream.readlines()) == 12


def test_a_folder_in_the_place_of_audio_is_said_in_plain_words(source, tmp_path):
    source.tables["wav.scp"]["s1-folder"] = tmp_path
    source.utterance("s1-folder")
    assert excluded(prepare(source)) == {"s1-folder": f"a folder, not a file: {tmp_path}"}


def test_checking_alone_writes_nothing(source, tmp_path):
    main(["--corpus", f"kaldi:{source.write()}", "--output", str(tmp_path / "out"), "--check"])
    assert not (tmp_path / "out").exists()
