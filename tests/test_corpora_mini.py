"""The synthetic corpus: grammar, voices, word times, held-out sets, reproducibility."""

import random
from pathlib import Path

import numpy as np
import pytest

from espnet_local.config import SAMPLE_RATE
from local.corpora import grammar as grammar_module
from local.corpora import mini
from local.corpora.__main__ import main
from local.corpora.espeak import Synthesiser, _word_spans
from local.corpora.grammar import load_grammar, sentences, set_of, transcript
from local.corpora.mini import MiniCorpus, say, voices
from local.corpora.validate import validate

DIGITS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
SETS = ("train", "dev", "test")
LANGUAGES = ("de", "en", "es")


def test_the_english_grammar_has_about_fifty_words_with_all_digits():
    vocabulary = load_grammar("en").vocabulary()
    assert 45 <= len(vocabulary) <= 60
    assert vocabulary >= DIGITS


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_stay_within_the_vocabulary_and_fill_every_set(language):
    grammar = load_grammar(language)
    rng = random.Random(0)
    for name, count in (("train", 300), ("dev", 80), ("test", 150)):
        found = sentences(grammar, name, count, rng)
        assert len(found) == count
        assert {word for s in found for word in transcript(s).split()} <= grammar.vocabulary()


def test_no_sentence_is_in_two_sets_whatever_the_seed():
    found = {
        name: {
            transcript(line.sentence)
            for seed in (0, 1)
            for line in MiniCorpus(seed=seed, debug=name == "train").script(name)
        }
        for name in SETS
    }
    assert not found["train"] & found["dev"]
    assert not found["train"] & found["test"]
    assert not found["dev"] & found["test"]


def test_pauses_do_not_change_the_set_of_a_sentence():
    rng = random.Random(0)
    grammar = load_grammar("en")
    spoken = [sentence for _ in range(200) if "," in (sentence := grammar.sentence(rng))]
    assert len(spoken) > 50
    assert all(set_of(sentence) == set_of(transcript(sentence)) for sentence in spoken)


@pytest.mark.parametrize("language", LANGUAGES)
def test_voices_and_their_variants_are_held_out(language):
    grammar = load_grammar(language)
    variants = {n: {v.split("+")[1] for v in voices(grammar, n)} for n in SETS}
    assert not variants["train"] & variants["dev"]
    assert not variants["train"] & variants["test"]
    assert not variants["dev"] & variants["test"]
    assert 45 <= sum(map(len, variants.values())) <= 60


@pytest.mark.parametrize("language", LANGUAGES)
def test_espeak_has_every_voice(language):
    synthesiser = Synthesiser()
    for name in SETS:
        for voice in voices(load_grammar(language), name):
            assert len(synthesiser.speak("eins uno one", voice=voice).word_spans) == 3


def test_an_unknown_voice_is_an_error():
    with pytest.raises(ValueError, match="espeak-ng has no voice 'xx\\+m1'"):
        Synthesiser().speak("one", voice="xx+m1")


def test_utterance_ids_sort_as_their_speakers_do():
    lines = [line for name in SETS for line in MiniCorpus(debug=True).script(name)]
    speakers = [line.speaker for line in sorted(lines, key=lambda line: line.id)]
    assert speakers == sorted(speakers)
    assert all(line.id.startswith(line.speaker + "-") for line in lines)


def test_a_grammar_may_name_only_its_own_classes(tmp_path):
    path = tmp_path / "g.yaml"
    path.write_text(
        "xx: {accents: [en], classes: {digit: [one]}, clauses: ['say {digits}'], joiners: [and]}"
    )
    with pytest.raises(ValueError, match="no class 'digits', did you mean 'digit'"):
        load_grammar("xx", path)


def test_a_bare_on_in_the_grammar_file_is_found_out(tmp_path):
    path = tmp_path / "g.yaml"
    path.write_text("xx: {accents: [en], classes: {s: [on]}, clauses: ['{s}'], joiners: [and]}")
    with pytest.raises(ValueError, match="must be of type str, got True"):
        load_grammar("xx", path)


def test_a_grammar_with_too_few_sentences_is_an_error(monkeypatch):
    grammar = grammar_module.Grammar(
        accents=("en",), classes={}, clauses=("only this one",), joiners=("and",)
    )
    monkeypatch.setattr(grammar_module, "_DRAWS", 100)
    with pytest.raises(ValueError, match="too few sentences for test: 50 wanted"):
        sentences(grammar, "test", 50, random.Random(0))


def test_each_word_reaches_to_the_next_and_words_spoken_as_one_share_by_letters():
    events = [(0, 0), (5, 100), (15, 300)]  # "the" has no event of its own
    assert _word_spans("turn on the, light", [(0, 0), (5, 100), (13, 300)], 350) == (
        (0, 100),
        (100, 167),
        (167, 300),
        (300, 350),
    )
    with pytest.raises(ValueError, match="a word at character 15"):
        _word_spans("turn on the, light", events, 350)


@pytest.fixture(scope="module")
def spoken():
    """Some utterances with their quiet synthesis: line, utterance."""
    synthesiser = Synthesiser()
    patch = pytest.MonkeyPatch()
    patch.setattr(mini, "SNR_DB", (60.0, 60.0))
    lines = MiniCorpus(debug=True).script("dev")
    result = [(line, say(synthesiser, line)) for line in lines]
    patch.undo()
    return result


def test_every_word_of_the_transcript_has_its_time_in_order_and_in_the_audio(spoken):
    for line, utterance in spoken:
        assert [word.word for word in utterance.words] == transcript(line.sentence).split()
        assert utterance.text == transcript(line.sentence)
        end_s = 0.0
        for word in utterance.words:
            assert word.start_s >= end_s - 1e-6
            assert 0.02 < word.duration_s < 1.2
            end_s = word.start_s + word.duration_s
        assert end_s <= utterance.duration_s


def test_words_are_loud_and_what_lies_around_them_is_silent(spoken):
    for _, utterance in spoken:
        first, last = utterance.words[0], utterance.words[-1]
        begin = int(first.start_s * SAMPLE_RATE)
        end = int((last.start_s + last.duration_s) * SAMPLE_RATE)
        level = np.abs(utterance.samples).max()
        assert np.abs(utterance.samples[: max(0, begin - 160)]).max() < 0.02 * level
        assert np.abs(utterance.samples[end + 320 :]).max() < 0.1 * level
        for word in utterance.words:
            at = int(word.start_s * SAMPLE_RATE)
            span = utterance.samples[at : at + int(word.duration_s * SAMPLE_RATE)]
            assert np.abs(span).max() > 0.03 * level


def test_a_pause_belongs_to_no_word():
    synthesiser = Synthesiser()
    speech = synthesiser.speak("call nine nine nine, and stop music", voice="en-us+m1")
    spans = mini.sounding_spans(speech, synthesiser.sample_rate)
    gaps_s = [(b - e) / synthesiser.sample_rate for (_, e), (b, _) in zip(spans, spans[1:])]
    assert np.argmax(gaps_s) == 3
    assert gaps_s[3] > 0.1


def test_noise_has_the_ratio_asked_for():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(16_000)
    added = mini.noise(samples, 20.0, rng)
    ratio_db = 10 * np.log10((samples**2).mean() / (added**2).mean())
    assert ratio_db == pytest.approx(20.0)


def test_utterances_are_long_and_short_enough(spoken):
    for _, utterance in spoken:
        assert 1.5 <= utterance.duration_s <= 12.0
        assert 0.1 < np.abs(utterance.samples).max() <= 1.0


def test_the_corpus_is_the_same_for_any_number_of_jobs_and_differs_by_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(mini, "DEBUG_SIZES", {"train": 6, "dev": 2, "test": 2})
    monkeypatch.setattr(mini, "UTTERANCES_PER_TASK", 2)
    monkeypatch.chdir(tmp_path)
    audio = {}
    for name, more in (("one", []), ("two", ["--nj", "3"]), ("three", ["--seed", "1"])):
        folder = Path(name) / "mini"
        main(["--corpus", "mini", "--debug", "--output", str(folder), *more])
        assert validate(folder / "train").problems == []
        audio[name] = (folder / "train/audio.ark").read_bytes()
    assert audio["one"] == audio["two"]
    assert audio["one"] != audio["three"]


def test_the_full_corpus_has_the_sizes_of_the_recipe():
    assert len(MiniCorpus().script("test")) == 150
    assert len(MiniCorpus().script("dev")) == 80
    assert len(MiniCorpus().script("train")) == 3000
