"""Common Voice from folders and tars of any release."""

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
    prepare,
    write_table,
)
from toy_lhotse import excluded

from espnet_local.audio import AudioReader
from espnet_local.files import read_table
from local.corpora.commonvoice import CommonVoiceCorpus
from local.corpora.text_rules import load_rule
from local.corpora.utterance import SETS, LeftOut


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
