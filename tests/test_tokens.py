"""Tokens: ESPnet's conventions, round trips, shape files, exclusions."""

import random

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from espnet_local.files import read_table, write_table
from espnet_local.tokens import Tokenizer, pieces_to_text, read_token_list, token_list
from local.corpora.grammar import load_grammar, sentences, transcript
from local.tokens import _spread, encoder_frames, main, train, write_tokens

KINDS = ("unigram", "bpe", "char")
TEXTS = [transcript(s) for s in sentences(load_grammar("en"), "train", 200, random.Random(0))] + [
    "öffne die tür"
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokens")
    for kind in KINDS:
        write_tokens(train(TEXTS, kind, 80, "texts"), root / kind)
    return root


@pytest.fixture
def data(tmp_path):
    """Data directories train and dev, each utterance long enough."""
    for name in ("train", "dev"):
        texts = {f"s-{n:03d}": text for n, text in enumerate(TEXTS)}
        write_table(tmp_path / name / "text", texts)
        write_table(tmp_path / name / "utt2num_samples", dict.fromkeys(texts, 160_000))
    return tmp_path


def command(data, *more, sets=("train", "dev")):
    return [
        "--text", str(data / "train/text"), "--output", str(data / "tokens"),
        "--sets", *(str(data / name) for name in sets), *more,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_texts_pass_through_tokens_unchanged(folders, kind):
    tokenizer = Tokenizer.from_dir(folders / kind)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.unknown_id not in ids
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_list_keeps_espnets_conventions(folders, kind):
    tokens = read_token_list(folders / kind / "tokens.txt")
    assert tokens[:2] == ["<blank>", "<unk>"]
    assert tokens[-1] == "<sos/eos>"
    assert len(set(tokens)) == len(tokens)
    assert not {"<s>", "</s>"} & set(tokens)
    if kind != "char":
        assert len(tokens) == 80
    tokenizer = Tokenizer.from_dir(folders / kind)
    assert (tokenizer.blank_id, tokenizer.sos_eos_id) == (0, len(tokens) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_agrees_with_espnet(folders, kind):
    from espnet2.text.sentencepiece_tokenizer import SentencepiecesTokenizer
    from espnet2.text.token_id_converter import TokenIDConverter

    pieces = SentencepiecesTokenizer(folders / kind / "bpe.model")
    numbers = TokenIDConverter(folders / kind / "tokens.txt")
    ours = Tokenizer.from_dir(folders / kind)
    for text in [*TEXTS, "Quarks & Ω", ""]:
        tokens = pieces.text2tokens(text)
        assert ours.encode(text) == numbers.tokens2ids(tokens)
        if ours.unknown_id not in ours.encode(text):
            assert ours.decode(ours.encode(text)) == pieces.tokens2text(tokens)


def test_a_character_is_one_token_and_the_word_boundary_another(folders):
    tokenizer = Tokenizer.from_dir(folders / "char")
    assert [tokenizer.tokens[i] for i in tokenizer.encode("öffne on")] == list("▁öffne▁on")


@given(st.text(max_size=30))
def test_any_text_encodes_to_known_numbers(folders, text):
    tokenizer = Tokenizer.from_dir(folders / "unigram")
    ids = tokenizer.encode(text)
    assert all(0 < i < tokenizer.sos_eos_id for i in ids)


def test_training_twice_gives_the_same_model():
    for kind in KINDS:
        assert train(TEXTS, kind, 60, "texts") == train(TEXTS, kind, 60, "texts")


def test_texts_with_little_in_them_get_fewer_tokens():
    for kind in KINDS:
        assert train(["yes no", "no yes"], kind, 500, "texts")


def test_a_vocabulary_too_small_for_the_characters_is_an_error():
    with pytest.raises(
        ValueError, match="vocab_size must be >= 9 for the 5 characters in t, got 8"
    ):
        train(["yes no"], "bpe", 8, "t")


def test_pieces_join_into_words_without_blank_and_end():
    pieces = ["<blank>", "▁tu", "rn", "▁", "on", "<unk>", "<sos/eos>"]
    assert pieces_to_text(pieces) == "turn on<unk>"
    assert pieces_to_text([]) == ""


def test_a_number_outside_the_list_is_an_error(folders):
    tokenizer = Tokenizer.from_dir(folders / "bpe")
    with pytest.raises(ValueError, match=r"token must be in 0\.\.79, got 80"):
        tokenizer.decode([80])
    with pytest.raises(ValueError, match="got -1"):
        tokenizer.decode([-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[1:], "token 0 must be '<blank>', got '<unk>'"),
        (lambda t: t[:-1], "token -1 must be '<sos/eos>'"),
        (lambda t: [*t[:2], *t[3:]], r"list \(79 tokens\) is not that of the SentencePiece model"),
        (lambda t: [*t[:2], t[3], t[2], *t[4:]], "is not that of the SentencePiece model"),
        (lambda t: [], "token 0 must be '<blank>', got an empty list"),
    ],
)
def test_a_list_that_is_not_the_models_is_an_error(folders, change, message):
    tokens = change(read_token_list(folders / "bpe/tokens.txt"))
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_files(folders / "bpe/bpe.model", tokens)


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    (tmp_path / "bpe.model").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"bpe\.model: not a SentencePiece model"):
        Tokenizer.from_files(tmp_path / "bpe.model", ["<blank>", "<unk>", "<sos/eos>"])


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2)])
def test_frames_follow_receptive_field_and_hop(samples, frames):
    assert encoder_frames(samples) == frames


def test_shapes_are_written_for_each_set(data):
    main(command(data))
    tokenizer = Tokenizer.from_dir(data / "tokens")
    for name in ("train", "dev"):
        shapes = read_table(data / "tokens" / f"{name}_text_shape")
        assert shapes == {
            f"s-{n:03d}": f"{len(tokenizer.encode(text))},80" for n, text in enumerate(TEXTS)
        }


def test_an_utterance_with_more_tokens_than_frames_is_left_out_and_listed(data):
    ids = Tokenizer(train(TEXTS, "unigram", 80, "t"), _tokens(data)).encode(TEXTS[1])
    samples = read_table(data / "train/utt2num_samples")
    samples["s-000"] = "800"
    enough = 400 + 320 * len(ids)  # frames for the tokens and one blank
    for given_samples, kept in ((enough, True), (enough - 1, False)):
        samples["s-001"] = str(given_samples)
        write_table(data / "train/utt2num_samples", samples)
        main(command(data))
        shapes = read_table(data / "tokens/train_text_shape")
        listed = (data / "tokens/train_excluded.tsv").read_text()
        assert "s-000" not in shapes
        assert ("s-001" in shapes, "s-001" in listed) == (kept, not kept)
    assert f"s-001\t{len(ids)} tokens, {len(ids)} frames of audio" in listed


def _tokens(data):
    main(command(data))
    return read_token_list(data / "tokens/tokens.txt")


def test_a_set_of_which_nothing_is_left_is_an_error(data):
    write_table(data / "dev/utt2num_samples", {f"s-{n:03d}": 10 for n in range(len(TEXTS))})
    with pytest.raises(ValueError, match=r"dev: no utterance of 201 has frames enough"):
        main(command(data))
    assert not (data / "tokens/.done.json").exists()


def test_unknown_characters_are_counted_and_reported(data, capsys):
    texts = read_table(data / "dev/text")
    texts["s-000"] = "Ω on Ω"
    write_table(data / "dev/text", texts)
    main(command(data))
    assert "dev: 2 of" in capsys.readouterr().err


def test_tokens_are_made_once_and_again_when_text_or_lengths_change(data, capsys):
    main(command(data))
    main(command(data))
    assert "unchanged, skipped: 80 unigram tokens" in capsys.readouterr().err
    for change in ("train/text", "dev/utt2num_samples"):
        table = read_table(data / change)
        table["s-000"] = "160001"
        write_table(data / change, table)
        main(command(data))
        assert "skipped" not in capsys.readouterr().err
    (data / "tokens/dev_text_shape").unlink()
    main(command(data))
    assert (data / "tokens/dev_text_shape").exists()


def test_the_tokens_of_another_corpus_can_be_used(data, folders):
    main(command(data, "--reuse", str(folders / "bpe")))
    for name in ("bpe.model", "tokens.txt"):
        assert (data / "tokens" / name).read_bytes() == (folders / "bpe" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--type", "unigramm"], "type must be one of unigram, bpe, char, got 'unigramm', did you"),
        (["--vocabsize", "3"], "unknown option '--vocabsize', did you mean '--vocab_size'?"),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line_and_status_2(data, capsys, more, message):
    with pytest.raises(SystemExit) as stop:
        main(command(data, *more))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train/text", "s-000\n", "train/text: no transcript to train tokens on"),
        ("dev/utt2num_samples", "s-000 9000\n", "dev/utt2num_samples has no line for s-001"),
        (
            "dev/utt2num_samples",
            "s-000 soon\n",
            "dev/utt2num_samples: s-000 must have a positive integer, got 'soon'",
        ),
    ],
)
def test_bad_tables_are_errors_that_name_them(data, name, text, message):
    (data / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        main(command(data))


def test_sets_of_one_name_would_overwrite_each_other(data):
    with pytest.raises(ValueError, match="sets must have different names, got train, train"):
        main(command(data, sets=("train", "train")))


@pytest.mark.parametrize(("kind", "size", "said"), [("bpe", 99_999, True), ("bpe", 80, False)])
def test_fewer_tokens_than_asked_for_are_said(data, capsys, kind, size, said):
    main(command(data, "--type", kind, "--vocab_size", str(size)))
    got = len(read_token_list(data / "tokens/tokens.txt"))
    shown = capsys.readouterr().err
    assert (f"WARNING {data}/tokens: asked for {size} tokens, got {got}" in shown) == said


def test_characters_are_not_remade_for_another_vocabulary_size(data, capsys):
    main(command(data, "--type", "char", "--vocab_size", "20"))
    main(command(data, "--type", "char", "--vocab_size", "9000"))
    shown = capsys.readouterr().err
    assert "unchanged, skipped" in shown
    assert "WARNING" not in shown


@pytest.mark.parametrize("kind", KINDS)
def test_of_too_many_texts_a_spread_is_trained_on_and_no_character_is_lost(monkeypatch, kind):
    texts = [*TEXTS, "x y z", "ñ", "no", "yes"]
    whole = train(texts, kind, 80, "t")
    monkeypatch.setattr("local.tokens.MOST_TEXTS", len(texts))
    assert train(texts, kind, 80, "t") == whole
    monkeypatch.setattr("local.tokens.MOST_TEXTS", 50)
    spread = train(texts, kind, 80, "t")
    assert spread == train(texts, kind, 80, "t")
    assert spread != whole
    processor = sentencepiece.SentencePieceProcessor(model_proto=spread)
    tokenizer = Tokenizer(spread, token_list(processor))
    for text in texts:
        assert tokenizer.unknown_id not in tokenizer.encode(text)


def test_a_spread_takes_texts_at_even_distances_and_those_with_new_characters(monkeypatch):
    monkeypatch.setattr("local.tokens.MOST_TEXTS", 3)
    texts = ["aa", "a", "ab", "bb", "b", "a a", "b b", "c", "ca", "ab bc"]
    assert list(_spread(texts, 10)) == ["aa", "ab", "bb", "a a", "b b", "c", "ab bc"]


def test_many_texts_are_encoded_as_one_by_one(folders):
    tokenizer = Tokenizer.from_dir(folders / "bpe")
    texts = [*TEXTS, "Quarks & Ω", "", "<blank> <unk>"]
    assert tokenizer.encode_all(texts) == [tokenizer.encode(text) for text in texts]


def test_tables_in_the_wrong_order_are_errors_that_name_the_line(data):
    table = (data / "dev/text").read_text().splitlines()
    (data / "dev/text").write_text("\n".join([table[1], table[0], *table[2:]]) + "\n")
    with pytest.raises(
        ValueError, match=r"dev/text:2: s-000 stands after s-001, must be sorted as by LC_ALL=C"
    ):
        main(command(data))
    assert not (data / "tokens/dev_text_shape").exists()


def test_counting_in_batches_changes_nothing(data, monkeypatch):
    main(command(data))
    names = ("train_text_shape", "train_excluded.tsv", "dev_text_shape")
    before = [(data / "tokens" / name).read_text() for name in names]
    (data / "tokens/.done.json").unlink()
    monkeypatch.setattr("local.tokens.TEXTS_PER_BATCH", 7)
    main(command(data))
    assert [(data / "tokens" / name).read_text() for name in names] == before
