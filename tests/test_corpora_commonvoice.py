"""Common Voice from folders and tars of any release."""

import gzip
import io
import os
import shutil
import tarfile
import unicodedata

import numpy as np
import pytest
import soundfile
import soxr
from toy_commonvoice import (
    NEW,
    OLD,
    RELEASE,
    client,
    excluded_of,
    make_commonvoice,
    pack,
    write_table,
)
from toy_lhotse import excluded

from espnet_local.audio import AudioReader
from espnet_local.files import read_table
from espnet_local.stamp import clear_stamp
from local.corpora.__main__ import main
from local.corpora.commonvoice import CommonVoiceCorpus
from local.corpora.text_rules import load_rule
from local.corpora.utterance import LeftOut
from local.corpora.validate import validate

SETS = ("train", "dev", "test")


def prepare(tmp_path, source, *more, language="et"):
    out = tmp_path / "out"
    call = ["--corpus", "commonvoice", "--corpus_dir", str(source), "--lang", language]
    main([*call, "--output", str(out), *more])
    for name in SETS:
        assert validate(out / name).problems == []
    return out


@pytest.mark.parametrize("columns", [NEW, OLD])
def test_the_tsvs_of_any_release_become_sets(tmp_path, columns):
    folder = make_commonvoice(tmp_path, columns=columns)
    out = prepare(tmp_path, folder)
    assert [len(read_table(out / name / "text")) for name in SETS] == [12, 4, 4]
    first = "common_voice_et_17000013"
    assert list(read_table(out / "dev/text").items())[:3] == [
        (first, "ja tere hommikust"),
        ("common_voice_et_17000014", "ja õhtu on käes"),
        ("common_voice_et_17000015", "ja žürii otsus tuli täna"),
    ]
    assert read_table(out / "dev/utt2spk")[first] == client("dev0")[:16]
    decoded, rate = soundfile.read(folder / "clips" / f"{first}.mp3", dtype="float32")
    np.testing.assert_allclose(
        AudioReader(out / "dev/wav.scp")[first], soxr.resample(decoded, rate, 16_000), atol=1e-4
    )


def test_every_defect_is_listed_with_its_reason(tmp_path):
    folder = make_commonvoice(tmp_path)
    out = prepare(tmp_path, folder)
    assert excluded(out / "train") == excluded_of(folder)
    assert excluded(out / "dev") == {}


def test_what_lhotses_recipe_gives_where_it_serves_is_the_same(tmp_path):
    from lhotse.recipes import prepare_commonvoice

    folder = make_commonvoice(tmp_path, defects=False)
    made = prepare_commonvoice(folder.parent, tmp_path / "m", "et", num_jobs=1)["et"]
    corpus = CommonVoiceCorpus(
        source=folder, language="et", train="train", own_area=tmp_path, debug=False
    )
    rule = load_rule("et")[0]
    for name in SETS:
        theirs = {
            s.id: (s.speaker[:16], rule.transcript(s.text), round(s.duration * 16_000))
            for s in made[name]["supervisions"]
        }
        ours = {i.id: (i.speaker, i.text, len(i.samples)) for i in corpus.items(name, 1)}
        assert ours == theirs


def test_validated_leaves_out_what_dev_and_test_hold_and_says_so(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    out = prepare(tmp_path, folder, "--cv_train", "validated")
    train = read_table(out / "train/text")
    assert train.keys() - {f"common_voice_et_{17_000_000 + k}" for k in range(1, 13)} == {
        "common_voice_et_17000021"
    }
    assert sorted(excluded(out / "train").items())[-3:] == [
        ("common_voice_et_17000020", "its clip is in test"),
        ("common_voice_et_17000022", "its speaker is in dev"),
        ("common_voice_et_17000023", "its sentence is in test"),
    ]


def add_rows(path, *rows):
    names = path.read_text().splitlines()[0].split("\t")
    with path.open("a") as stream:
        stream.writelines("\t".join(row.get(n, "") for n in names) + "\n" for row in rows)


def test_a_sentence_of_test_in_another_spelling_is_not_trained_on(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    test = ["Aga Tere, hommikust?!", unicodedata.normalize("NFD", "Aga Õhtu on käes")]
    add_rows(folder / "dev.tsv", {"client_id": "x", "path": "x.mp3", "sentence": "5 eurot, õhtul"})
    more = [*test, unicodedata.normalize("NFD", "5 Eurot õhtul!"), "?"]
    add_rows(
        folder / "validated.tsv",
        *({"client_id": f"n{i}", "path": f"n{i}.mp3", "sentence": s} for i, s in enumerate(more)),
    )
    corpus = CommonVoiceCorpus(
        source=folder, language="et", train="validated", own_area=tmp_path, debug=False
    )
    reasons = {item.id: item.reason for item in corpus.listed("train").exclusions}
    assert [reasons[f"n{i}"] for i in range(4)] == [
        "its sentence is in test",
        "its sentence is in test",
        "its sentence is in dev",
        "empty transcript",
    ]


def test_a_clip_of_two_sets_stays_in_test(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    rows = {n: (folder / f"{n}.tsv").read_text().splitlines()[1] for n in ("dev", "test")}
    for table, row in (("train", rows["dev"]), ("train", rows["test"]), ("dev", rows["test"])):
        with (folder / f"{table}.tsv").open("a") as stream:
            stream.write(row + "\n")
    out = prepare(tmp_path, folder)
    assert excluded(out / "train") == {
        "common_voice_et_17000013": "its clip is in dev",
        "common_voice_et_17000017": "its clip is in test",
    }
    assert excluded(out / "dev") == {"common_voice_et_17000017": "its clip is in test"}


def test_speakers_of_another_form_are_not_merged(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    rows = [
        {"client_id": f"common_voice_speaker_{i}", "path": f"n{i}.mp3", "sentence": "tere"}
        for i in range(3)
    ]
    add_rows(folder / "train.tsv", *rows)
    corpus = CommonVoiceCorpus(
        source=folder, language="et", train="train", own_area=tmp_path, debug=False
    )
    speakers = {s.speaker for s in corpus.listed("train").segments if s.id.startswith("n")}
    assert [len(speaker) for speaker in speakers] == [16] * 3


def test_the_result_does_not_depend_on_the_number_of_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.UTTERANCES_PER_TASK", 5)
    folder = make_commonvoice(tmp_path)
    corpus = CommonVoiceCorpus(
        source=folder, language="et", train="train", own_area=tmp_path, debug=False
    )
    found = [
        [(i.id, getattr(i, "reason", None) or i.samples.sum()) for i in corpus.items("train", nj)]
        for nj in (1, 2)
    ]
    assert found[0] == found[1]


def test_a_release_is_prepared_once_and_again_when_a_tsv_changes(tmp_path, capsys):
    folder = make_commonvoice(tmp_path)
    for source in (folder, folder.parent):
        prepare(tmp_path, source)
    err = capsys.readouterr().err
    assert "unchanged, skipped: out/dev: 4 utterances" in err
    text = (folder / "dev.tsv").read_text().replace("Tere", "Kena")
    (folder / "dev.tsv").write_text(text)
    out = prepare(tmp_path, folder)
    assert "skipped" not in capsys.readouterr().err
    assert read_table(out / "dev/text")["common_voice_et_17000013"] == "ja kena hommikust"


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_gives_what_its_folder_gives_and_is_taken_out_once(tmp_path, capsys, suffix):
    folder = make_commonvoice(tmp_path)
    archive = pack(folder, tmp_path / f"et.{suffix}")
    prepare(tmp_path, folder)
    expected = {n: (tmp_path / "out" / n / "text").read_text() for n in SETS}
    reasons = [reason.rsplit("/", 1)[-1] for reason in excluded(tmp_path / "out/train").values()]
    out = prepare(tmp_path, archive)
    assert {n: (out / n / "text").read_text() for n in SETS} == expected
    found = [reason.rsplit("/", 1)[-1] for reason in excluded(out / "train").values()]
    assert found == reasons
    clips = {path.name for path in (out / ".source/release/clips").iterdir()}
    assert "common_voice_et_17000001.mp3" in clips
    assert not clips & {"common_voice_et_17000021.mp3", "digits.mp3"}  # other sets, left out
    capsys.readouterr()
    prepare(tmp_path, archive)
    assert "unchanged, skipped: out/dev" in capsys.readouterr().err
    prepare(tmp_path, archive, "--audio_format", "wav")
    assert "unchanged, skipped: " + f"{out}/.source/release" in capsys.readouterr().err


def test_an_extraction_that_was_killed_goes_on(tmp_path, monkeypatch):
    archive = pack(make_commonvoice(tmp_path), tmp_path / "et.tar.gz")
    copy, copied = shutil.copyfileobj, []

    def die_at_the_tenth(stream, target):
        copied.append(target.name)
        if len(copied) == 10:
            target.write(b"half")
            raise KeyboardInterrupt
        copy(stream, target)

    monkeypatch.setattr("local.corpora.cv_archive.shutil.copyfileobj", die_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, archive)
    prepare(tmp_path, archive)
    assert len(copied) == len(set(copied)) + 1  # only the one that was cut comes again
    assert validate(tmp_path / "out/train").utterances == 12


def test_a_tar_that_is_cut_is_one_line_and_another_in_its_place_is_taken(tmp_path):
    archive = pack(make_commonvoice(tmp_path), tmp_path / "et.tar.gz")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"et.tar.gz is cut or no tar: .*; download it again"):
        prepare(tmp_path, archive)
    assert not (tmp_path / "out/train").exists()
    archive.write_bytes(whole)
    assert validate(prepare(tmp_path, archive) / "train").utterances == 12


def test_a_tar_that_is_damaged_at_a_header_or_cut_between_members_is_said(tmp_path):
    archive = pack(make_commonvoice(tmp_path, defects=False), tmp_path / "et.tar")
    whole = archive.read_bytes()
    with tarfile.open(archive) as stream:
        members = stream.getmembers()
    last = members[-1]
    end = last.offset_data + (last.size + 511) // 512 * 512
    middle = members[len(members) // 2].offset
    for bad in (
        whole[:middle] + b"\7" * 512 + whole[middle + 512 :],
        whole[:middle],
        whole[: middle + 300],
        whole[:end],
        whole[: end + 512],
    ):
        archive.write_bytes(bad)
        with pytest.raises(ValueError, match=r"et.tar is cut or no tar: .*; download it again"):
            prepare(tmp_path, archive)
    packed = gzip.compress(whole)
    (tmp_path / "et.tar.gz").write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    with pytest.raises(ValueError, match="CRC check failed"):
        prepare(tmp_path, tmp_path / "et.tar.gz")


def test_files_of_the_same_name_elsewhere_in_a_tar_are_not_taken(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    archive = pack(folder, tmp_path / "et.tar")
    texts = {n: (prepare(tmp_path, archive) / n / "text").read_text() for n in SETS}
    clip = "common_voice_et_17000001.mp3"
    with tarfile.open(archive, "a") as stream:
        for name in (
            f"{RELEASE}/de/train.tsv", f"{RELEASE}/et/backup/train.tsv",
            f"{RELEASE}/et/clips/train.tsv", f"{RELEASE}/de/clips/{clip}",
            f"{RELEASE}/et/{clip}", f"{RELEASE}/et/clips/old/{clip}", clip,
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = 3
            stream.addfile(info, io.BytesIO(b"bad"))
    out = prepare(tmp_path, archive)
    assert {n: (out / n / "text").read_text() for n in SETS} == texts
    taken = out / ".source/release"
    assert (taken / "clips" / clip).read_bytes() == (folder / "clips" / clip).read_bytes()
    assert (taken / "train.tsv").read_bytes() == (folder / "train.tsv").read_bytes()


def test_an_extraction_renews_a_file_of_another_size_and_all_of_another_tar(tmp_path):
    archive = pack(make_commonvoice(tmp_path, defects=False), tmp_path / "et.tar")
    release = prepare(tmp_path, archive) / ".source/release"
    clip = release / "clips/common_voice_et_17000001.mp3"
    whole = clip.read_bytes()
    clip.write_bytes(whole[:100])
    (release / "clips/stray.mp3").touch()
    clear_stamp(release)
    clear_stamp(tmp_path / "out")
    prepare(tmp_path, archive)
    assert clip.read_bytes() == whole
    assert (release / "clips/stray.mp3").exists()
    os.utime(archive, ns=(1, 1))
    prepare(tmp_path, archive)
    assert clip.read_bytes() == whole
    assert not (release / "clips/stray.mp3").exists()


def test_a_tar_whose_names_lead_out_of_it_is_refused(tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        info = tarfile.TarInfo("../../et/train.tsv")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(ValueError, match=r"bad.tar: .*outside the destination"):
        prepare(tmp_path, tmp_path / "bad.tar")
    assert not (tmp_path / "out").exists()


def test_wrong_folders_and_tars_are_said_before_anything_is_made(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    archive = pack(folder, tmp_path / "et.tar")
    (tmp_path / "x.tar").write_text("no tar")
    write_table(tmp_path / "train.tsv", ["path", "text"], [])
    for source, language, message in (
        (tmp_path / "none", "et", "corpus_dir is no folder and no .tar or .tar.gz or .tgz"),
        (folder.parent, "de", "no train.tsv and no de/train.tsv; it has et"),
        (folder, "de", "is of the language 'et', --lang says 'de'"),
        (archive, "de", f"holds {RELEASE}/et, not the language 'de'"),
        (tmp_path / "x.tar", "et", "x.tar is cut or no tar"),
        (tmp_path, "et", "must have the columns client_id, path, sentence, lacks client_id"),
    ):
        with pytest.raises((ValueError, OSError)) as caught:
            prepare(tmp_path, source, "--check", language=language)
        assert message in str(caught.value)
    (folder / "dev.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"dev\.tsv"):
        prepare(tmp_path, folder, "--check")
    assert not (tmp_path / "out").exists()


def test_debug_takes_a_sliver_and_only_its_clips_out_of_a_tar(tmp_path, monkeypatch):
    monkeypatch.setattr("local.corpora.cutting.DEBUG_SIZES", {"train": 4, "dev": 2, "test": 2})
    archive = pack(make_commonvoice(tmp_path, defects=False), tmp_path / "et.tar")
    out = prepare(tmp_path, archive, "--debug")
    assert [len(read_table(out / name / "text")) for name in SETS] == [4, 2, 2]
    assert len(list((out / ".source/release/clips").iterdir())) == 8


def test_a_language_without_a_rule_takes_the_default_and_says_so(tmp_path, capsys):
    folder = make_commonvoice(tmp_path, "rw")
    out = prepare(tmp_path, folder, language="rw")
    assert "no text rule for the language 'rw': taking 'default'" in capsys.readouterr().err
    assert read_table(out / "train/text")["digits"] == "kell 3"


@pytest.mark.parametrize(
    ("language", "sentence", "text"),
    [
        ("en", "“Hello,” he said – it’s 'fine'…", "hello he said it's fine"),
        ("de", "Straße: ÜBER-Flug", "straße über flug"),
        ("es", "¿Qué tal, niño?", "qué tal niño"),
        ("fr", "L’œil d'aujourd'hui: «oui»", "l'œil d'aujourd'hui oui"),
        ("it", "Perche\u0301 no?", "perché no"),  # composed
        ("et", "Õh\u00adtu, Žürii", "õhtu žürii"),
        ("tr", "İstanbul IŞIK", "istanbul ışık"),
        ("it", "perche\u00ad\u0301", "perché"),  # composed after the soft hyphen is gone
        ("tr", "I\u0307stanbul", "istanbul"),  # composed before letters are replaced
        ("et", "a\u200bb \ufeffc\u200ed Auf\u200clage", "a b cd auflage"),
        ("fa", "\u200cمی\u200cخواهم\u200c", "می\u200cخواهم"),
        ("unknown", "Привет, नमस्ते। 42", "привет नमस्ते 42"),
    ],
)
def test_sentences_become_transcripts_by_their_languages_rule(language, sentence, text):
    assert load_rule(language)[0].transcript(sentence) == text


@pytest.mark.parametrize(
    ("language", "sentence", "letter"),
    [
        ("en", "three & four", "&"),
        ("et", "5 eurot", "5"),
        ("de", "café", "é"),
        ("xx", "2 €", "€"),
        ("en", "a\x07b", r"\\x07"),
        ("xx", "a\ufff9b", r"\\ufff9"),
    ],
)
def test_a_character_outside_the_alphabet_is_named(language, sentence, letter):
    with pytest.raises(LeftOut, match=rf"character '{letter}' \(U\+"):
        load_rule(language)[0].transcript(sentence)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{case: lower, alphabt: a}", "unknown key 'alphabt', did you mean 'alphabet'"),
        ("{case: lover}", "case must be one of 'lower', 'upper', 'keep', got 'lover'"),
        ("{case: lower, alphabet: aB}", "alphabet must be lower case without spaces: 'B'"),
    ],
)
def test_rules_are_read_strictly(tmp_path, rule, message):
    path = tmp_path / "rules.yaml"
    path.write_text(f"everywhere: {{}}\nlanguages:\n  default: {rule}\n")
    with pytest.raises(ValueError, match="rules.yaml") as caught:
        load_rule("en", path)
    assert message in str(caught.value)
