"""Word error rates, result tables and `.trn` files."""

import kaldialign
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_local.bin import score
from espnet_local.config import ContextSpec, to_mapping
from espnet_local.files import write_table
from espnet_local.results import COLUMNS
from espnet_local.scoring import count_errors, write_trn
from espnet_local.stamp import read_stamp, write_stamp

TARGET = ContextSpec(chunk_frames=16, left_chunks=1, sink_frames=16)


def distance(reference, hypothesis):
    """Edit distance by its recursion, one row at a time."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
    return row[-1]


sentences = st.lists(st.sampled_from("abc"), max_size=6).map(" ".join)


@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=4))
def test_counts_are_those_of_the_edit_distance(pairs):
    reference = {str(i): f"w {ref}" for i, (ref, _) in enumerate(pairs)}
    hypothesis = {str(i): hyp for i, (_, hyp) in enumerate(pairs)}
    counts = count_errors(reference, hypothesis)
    words = [(reference[i].split(), hypothesis[i].split()) for i in reference]
    assert counts.errors == sum(distance(ref, hyp) for ref, hyp in words)
    assert counts.words == sum(len(ref) for ref, _ in words)
    assert counts.sentences == len(pairs)
    assert counts.wrong_sentences == sum(ref != hyp for ref, hyp in words)
    spoken = counts.correct + counts.substitutions + counts.insertions
    assert spoken == sum(len(hyp) for _, hyp in words)


def test_each_kind_of_error_is_counted_as_itself():
    reference = {"1": "a b c d", "2": "a b", "3": "x"}
    counts = count_errors(reference, {"1": "a x c", "2": "a b c", "3": "x"})
    assert (counts.substitutions, counts.deletions, counts.insertions) == (1, 1, 1)
    assert (counts.correct, counts.errors, counts.wrong_sentences) == (5, 3, 2)


@pytest.mark.parametrize(
    ("hypothesis", "message"),
    [
        ({"a": "x"}, "2 utterances missing from the hypotheses, first b"),
        ({"a": "x", "b": "", "c": "", "z": ""}, "1 utterances not in the reference, first z"),
    ],
)
def test_utterances_that_differ_are_an_error_naming_count_and_first(hypothesis, message):
    with pytest.raises(ValueError, match=message):
        count_errors({"a": "x", "b": "y", "c": "z"}, hypothesis)


def test_a_reference_without_words_is_an_error():
    with pytest.raises(ValueError, match="no words in its 1 utterances"):
        count_errors({"a": ""}, {"a": "x"})


def test_trn_lines_name_speaker_and_utterance(tmp_path):
    write_trn(tmp_path / "hyp.trn", {"u2": "", "u1": "a b"}, {"u1": "s", "u2": "t"})
    assert (tmp_path / "hyp.trn").read_text() == "a b (s-u1)\n(t-u2)\n"
    with pytest.raises(ValueError, match="no speaker for utterance u3"):
        write_trn(tmp_path / "hyp.trn", {"u3": "a"}, {})


REFERENCE = {"u1": "one two three", "u2": "four"}
DECODED = {
    ("1", ContextSpec(), "greedy"): {"u1": "one two three", "u2": "four"},
    ("1", TARGET, "greedy"): {"u1": "one", "u2": "five"},
    ("5b", TARGET, "greedy"): {"u1": "one two three", "u2": "five"},
    ("5b", TARGET, "beam"): {"u1": "one two", "u2": "four four"},
}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    data = tmp_path / "data" / "test"
    write_table(data / "text", REFERENCE)
    write_table(data / "utt2spk", {"u1": "s", "u2": "s"})
    for (substage, context, method), text in DECODED.items():
        stage = tmp_path / "exp" / f"stage{substage}"
        write_stamp(stage, f"print{substage}", seed=7, valid_wer=12.34)
        folder = stage / f"decode_{context.name}_{method}" / "test"
        write_table(folder / "text", text)
        notes = {"substage": substage, "context": to_mapping(context), "method": method}
        write_stamp(folder, "x", decoding="masked", dataset="test", **notes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_score():
    score.main(["--expdir", "exp", "--data", "data", "--sets", "test"])


def test_the_table_has_a_row_a_model_context_and_method_in_order(experiment, capsys):
    run_score()
    lines = [line.split("\t") for line in (experiment / "exp/results.tsv").read_text().splitlines()]
    assert lines[0] == list(COLUMNS)
    assert [line[:9] for line in lines[1:]] == [
        ["1", "test", "full", "all", "0", "masked", "greedy", "2", "4"],
        ["1", "test", "320", "1", "16", "masked", "greedy", "2", "4"],
        ["5b", "test", "320", "1", "16", "masked", "greedy", "2", "4"],
        ["5b", "test", "320", "1", "16", "masked", "beam", "2", "4"],
    ]
    assert [line[9:15] for line in lines[1:]] == [
        ["100.0", "0.0", "0.0", "0.0", "0.0", "0.0"],
        ["25.0", "25.0", "50.0", "0.0", "75.0", "100.0"],
        ["75.0", "25.0", "0.0", "0.0", "25.0", "50.0"],
        ["75.0", "0.0", "25.0", "25.0", "50.0", "100.0"],
    ]
    page = (experiment / "exp/RESULTS.md").read_text()
    assert page == capsys.readouterr().out
    for part in ("2 utterances, 4 words", "325 ms", "whole utterance", "print5b", "| 7 |", "12.3"):
        assert part.replace("| 7 |", " 7 |") in page


def test_a_row_tells_which_weights_were_decoded_where_that_was_noted(experiment):
    folder = experiment / f"exp/stage1/decode_{TARGET.name}_greedy/test"
    write_stamp(folder, **(read_stamp(folder) | {"model": "0123abcd"}))
    run_score()
    lines = (experiment / "exp/results.tsv").read_text().splitlines()
    assert [line.split("\t")[-1] for line in lines] == ["model", "-", "0123abcd", "-", "-"]


def test_rates_in_the_table_are_those_of_kaldialign_over_the_files(experiment):
    run_score()
    header, *rows = (experiment / "exp/results.tsv").read_text().splitlines()
    for line, text in zip(rows, DECODED.values()):
        row = dict(zip(header.split("\t"), line.split("\t")))
        total = sum(
            kaldialign.edit_distance(REFERENCE[u].split(), text[u].split())["total"] for u in text
        )
        assert row["err"] == f"{100 * total / int(row['wrd']):.1f}"


def test_trn_files_lie_beside_each_hypothesis(experiment):
    run_score()
    folder = experiment / "exp/stage5b" / f"decode_{TARGET.name}_beam" / "test"
    assert (folder / "hyp.trn").read_text() == "one two (s-u1)\nfour four (s-u2)\n"
    assert (folder / "ref.trn").read_text() == "one two three (s-u1)\nfour (s-u2)\n"


def test_a_set_still_being_decoded_is_left_out(experiment):
    folder = experiment / "exp/stage5b" / f"decode_{TARGET.name}_beam" / "test"
    (folder / ".done.json").unlink()
    run_score()
    assert len((experiment / "exp/results.tsv").read_text().splitlines()) == 4


def test_a_sub_stage_that_training_moved_aside_is_left_out(experiment):
    (experiment / "exp/stage1").rename(experiment / "exp/stage1.replaced1")
    run_score()
    assert len((experiment / "exp/results.tsv").read_text().splitlines()) == 3


def test_hypotheses_of_other_utterances_are_an_error_and_nothing_is_written(experiment):
    write_table(experiment / "data/test/text", {**REFERENCE, "u3": "x"})
    with pytest.raises(ValueError, match=r"stage1/decode_.* 1 utterances missing .*first u3"):
        run_score()
    assert not (experiment / "exp/results.tsv").exists()


def test_a_set_that_is_not_decoded_is_an_error_naming_it(experiment):
    with pytest.raises(ValueError, match="set 'dev' is not decoded"):
        score.main(["--expdir", "exp", "--data", "data", "--sets", "dev"])
