"""Folders of lhotse manifests and lhotse's recipes."""

import gzip
import sys

import numpy as np
import pytest
import soundfile
from lhotse import load_manifest
from lhotse.kaldi import export_to_kaldi
from toy_lhotse import DEFECTS, RATE, SETS, excluded, make_lhotse, noise, prepare

from espnet_local.audio import AudioReader
from espnet_local.files import read_table
from local.corpora.lhotse_corpus import LhotseCorpus


def test_manifests_become_sets_with_texts_speakers_and_samples_of_their_channel(tmp_path):
    out = prepare(tmp_path, make_lhotse(tmp_path))
    assert [len(read_table(out / name / "text")) for name in SETS] == [14, 4, 4]
    assert read_table(out / "dev/text") == {
        "dev-r0-0": "one two three",
        "dev-r0-1": "two three four",
        "dev-r1-0": "two three four",
        "dev-r1-1": "three four five",
    }
    assert read_table(out / "dev/utt2spk")["dev-r1-1"] == "dev-1"
    reader = AudioReader(out / "dev/wav.scp")
    for number in (0, 1):  # two channels in one file, and one each in two
        for side in (0, 1):
            spoken = noise(3.0, 1000 + 2 * number + side)[int((0.5 + side) * RATE) :][: 12 * 1600]
            np.testing.assert_allclose(reader[f"dev-r{number}-{side}"], spoken, atol=2 / 32768)


def test_word_times_count_from_the_utterance_and_words_that_share_one_divide_it(tmp_path):
    out = prepare(tmp_path, make_lhotse(tmp_path))
    assert (out / "dev/words.ctm").read_text().splitlines()[3:6] == [
        "dev-r0-1 1 0.000 0.400 two",
        "dev-r0-1 1 0.400 0.400 three",
        "dev-r0-1 1 0.800 0.400 four",
    ]
    lines = (out / "train/words.ctm").read_text().splitlines()
    assert [line for line in lines if line.startswith("good_nameless")] == [
        "good_nameless 1 0.000 0.200 MM",
        "good_nameless 1 0.200 0.300 HMM",
    ]


def test_the_tables_of_mono_recordings_are_those_of_lhotses_own_export(tmp_path):
    folder = make_lhotse(tmp_path, channels=1, defects=False)
    out = prepare(tmp_path, folder)
    recordings, supervisions = (
        load_manifest(folder / f"toy_{kind}_dev.jsonl.gz")
        for kind in ("recordings", "supervisions")
    )
    export_to_kaldi(recordings, supervisions, tmp_path / "theirs")
    for name in ("text", "utt2spk"):
        assert read_table(out / "dev" / name) == read_table(tmp_path / "theirs" / name)
    seconds = {k: float(v) for k, v in read_table(tmp_path / "theirs/utt2dur").items()}
    samples = {k: int(v) for k, v in read_table(out / "dev/utt2num_samples").items()}
    assert samples == {name: round(duration * RATE) for name, duration in seconds.items()}


def test_every_defect_is_listed_with_its_reason_and_no_command_is_run(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = prepare(tmp_path, make_lhotse(tmp_path))
    audio = tmp_path / "audio"
    assert excluded(out / "train") == {k: v.format(audio=audio) for k, v in DEFECTS.items()}
    assert read_table(out / "train/text")["good-whole"] == "one two three four five"
    assert read_table(out / "train/utt2spk")["good_nameless"] == "good"
    assert "1 utterances have no speaker: their recording stands for it" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_the_result_does_not_depend_on_the_number_of_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.UTTERANCES_PER_TASK", 5)
    folder = make_lhotse(tmp_path)
    found = []
    for nj in (1, 2):
        items = list(LhotseCorpus(folder=folder).items("train", nj))
        found.append([(item.id, getattr(item, "reason", None)) for item in items])
        found[-1] += [item.samples.sum() for item in items if hasattr(item, "samples")]
    assert found[0] == found[1]


def test_a_folder_is_prepared_once_and_again_when_a_manifest_changes(tmp_path, capsys):
    folder = make_lhotse(tmp_path)
    prepare(tmp_path, folder)
    capsys.readouterr()
    prepare(tmp_path, folder)
    assert "unchanged, skipped" in capsys.readouterr().err
    path = folder / "toy_supervisions_dev.jsonl.gz"
    text = gzip.decompress(path.read_bytes()).decode().replace("two three four", "two too")
    path.write_bytes(gzip.compress(text.encode()))
    out = prepare(tmp_path, folder)
    assert "skipped" not in capsys.readouterr().err
    assert read_table(out / "dev/text")["dev-r0-1"] == "two too"


LIBRI = ("train-clean-100", "dev-clean", "test-clean")


def test_parts_may_be_stated_and_joined(tmp_path):
    folder = make_lhotse(tmp_path, parts=LIBRI)
    make_lhotse(tmp_path / "b", sizes=(2, 2, 2), parts=("more", "x", "y"), defects=False)
    for path in (tmp_path / "b/manifests").iterdir():
        path.rename(folder / path.name)
    out = prepare(
        tmp_path, folder, "--parts", "train=train-clean-100+x,dev=dev-clean,test=test-clean"
    )
    assert {"train-clean-100-r0-0", "x-r0-0"} <= read_table(out / "train/text").keys()


@pytest.mark.parametrize(
    ("parts", "stated", "message"),
    [
        (LIBRI, None, "has the parts dev-clean, test-clean, train-clean-100: none is the train"),
        (("train", "dev", "validation"), None, "dev and validation are both the dev set"),
        (LIBRI, "train=train-clean-10,dev=a,test=b", "'train-clean-10', did you mean 'train-cl"),
        (("train", "dev", "test"), "dev=train", "'train' would be in train and dev"),
        (("train", "dev", "test"), "dve=train", "got 'dve', did you mean 'dev'?"),
        (("train", "dev", "test"), "dev=test,dev=test", "dev stands twice"),
        (("train", "dev", "test"), "dev=train,test=train", "'train' cannot be used twice"),
        (("train", "dev", "test"), "dev", "parts must be <set>=<part>"),
    ],
)  # fmt: skip
def test_parts_that_are_not_clear_are_one_line_that_lists_them(tmp_path, parts, stated, message):
    folder = make_lhotse(tmp_path, (2, 2, 2), parts, defects=False)
    more = ["--check", *(["--parts", stated] if stated else [])]
    with pytest.raises(ValueError, match=".") as caught:
        prepare(tmp_path, folder, *more)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_manifests_without_part_or_of_several_prefixes_have_names(tmp_path):
    folder = make_lhotse(tmp_path, (2, 2, 2), defects=False)
    for kind in ("recordings", "supervisions"):
        (folder / f"toy_{kind}_test.jsonl.gz").rename(folder / f"other_{kind}.jsonl.gz")
    chosen = "train=toy_train,dev=toy_dev,test=other"
    assert "test-r0-0" in read_table(prepare(tmp_path, folder, "--parts", chosen) / "test/text")


def test_what_is_no_folder_of_manifests_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder of lhotse manifests"):
        prepare(tmp_path, f"{tmp_path}/nothing", "--check")
    (tmp_path / "a_recordings_train.jsonl.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no <prefix>_recordings_<part>"):
        prepare(tmp_path, f"{tmp_path}/", "--check")


def test_a_manifest_that_is_cut_is_one_line_with_its_name(tmp_path):
    folder = make_lhotse(tmp_path)
    path = folder / "toy_supervisions_train.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"toy_supervisions_train.jsonl.gz or their recordings"):
        prepare(tmp_path, folder)


def make_librispeech(root, parts=LIBRI):
    """A corpus as lhotse's recipe librispeech reads it, two utterances a part."""
    for order, part in enumerate(parts):
        folder = root / part / f"{order}" / "7"
        folder.mkdir(parents=True)
        lines = []
        for number in (0, 1):
            name = f"{order}-7-000{number}"
            soundfile.write(folder / f"{name}.flac", noise(1.0, number), RATE)
            lines.append(f"{name} SAID IN {part.upper()}\n")
        (folder / f"{order}-7.trans.txt").write_text("".join(lines))
    return root


STATED = ("--parts", "train=train-clean-100,dev=dev-clean,test=test-clean")


def test_a_recipe_makes_manifests_first_and_again_only_when_the_corpus_changes(tmp_path, capsys):
    corpus = make_librispeech(tmp_path / "corpus")
    out = prepare(tmp_path, "librispeech", "--corpus_dir", corpus, *STATED)
    assert read_table(out / "dev/text")["1-7-0001"] == "SAID IN DEV-CLEAN"
    assert "lhotse's recipe librispeech on" in capsys.readouterr().err
    prepare(tmp_path, "librispeech", "--corpus_dir", corpus, *STATED)
    assert "unchanged, skipped: out/dev: 2 utterances" in capsys.readouterr().err
    # Another storage of the same corpus takes the manifests that are there.
    prepare(tmp_path, "librispeech", "--corpus_dir", corpus, *STATED, "--audio_format", "wav")
    assert "unchanged, skipped: lhotse's manifests" in capsys.readouterr().err
    # Audio that is written anew in its place, behind a link, is noticed too.
    (corpus / "dev-clean").rename(tmp_path / "elsewhere")
    (corpus / "dev-clean").symlink_to(tmp_path / "elsewhere")
    prepare(tmp_path, "librispeech", "--corpus_dir", corpus, *STATED)
    capsys.readouterr()
    soundfile.write(corpus / "dev-clean/1/7/1-7-0000.flac", noise(1.5, 5), RATE)
    prepare(tmp_path, "librispeech", "--corpus_dir", corpus, *STATED)
    assert "skipped" not in capsys.readouterr().err
    assert read_table(out / "dev/utt2num_samples")["1-7-0000"] == "24000"
    soundfile.write(corpus / "dev-clean/1/7/1-7-0002.flac", noise(1.0, 5), RATE)
    with (corpus / "dev-clean/1/7/1-7.trans.txt").open("a") as stream:
        stream.write("1-7-0002 A THIRD\n")
    prepare(tmp_path, "librispeech", "--corpus_dir", corpus, *STATED)
    assert "skipped" not in capsys.readouterr().err
    assert read_table(out / "dev/text")["1-7-0002"] == "A THIRD"


def test_the_parts_that_a_recipe_made_are_listed_when_they_are_not_clear(tmp_path):
    corpus = make_librispeech(tmp_path / "corpus")
    with pytest.raises(ValueError, match="has the parts dev-clean, test-clean, train-clean-100"):
        prepare(tmp_path, "librispeech", "--corpus_dir", corpus)


def test_a_recipe_that_fails_is_one_line_with_its_reason_and_leaves_no_manifests(tmp_path):
    corpus = tmp_path / "corpus"
    (corpus / "a").mkdir(parents=True)  # yesno asserts that there are 60 files
    with pytest.raises(ValueError, match="recipe 'yesno' fails on .*AssertionError") as caught:
        prepare(tmp_path, "yesno", "--corpus_dir", corpus)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/.source/manifests/.done.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lhotse:librispech", "--corpus_dir", "."], "no recipe 'librispech', did you mean 'libri"),
        (["lhotse:tedlium", "--corpus_dir", "."], "recipe 'tedlium' needs tedlium_root"),
        (["lhotse:timit", "--corpus_dir", "no"], "corpus_dir is no folder"),
        (["lhotse:tests", "--corpus_dir", "."], "for the folder of that name write lhotse:./tests"),
    ],
)
def test_a_wrong_recipe_is_said_without_importing_lhotse(shell, tmp_path, arguments, message):
    code = (
        "import sys, local.corpora.__main__ as program\n"
        "from espnet_local.cli import one_line\n"
        "try:\n    program.main()\nexcept (ValueError, OSError) as error:\n"
        "    print(one_line(error), 'lhotse' in sys.modules)\n"
    )
    done = shell(
        sys.executable, "-c", code, "--corpus", *arguments, "--output", tmp_path / "o", "--check"
    )
    assert message in done.stdout
    assert done.stdout.endswith(" False\n")
