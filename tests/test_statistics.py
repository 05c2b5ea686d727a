"""The statistics of a corpus: figures, what was left out, the picture, skipping."""

import pytest

from espnet_local.cli import run
from espnet_local.files import write_table, write_text
from local.corpus_statistics import SetStatistics, collect, main
from local.statistics_page import page
from local.tokens import main as make_tokens
from local.tokens import train, write_tokens

RATE = 16_000
TRAIN = {"s1-a": ("yes no yes", 2.0), "s1-b": ("no", 1.0), "s2-c": ("maybe", 3.0)}
DEV = {"s3-a": ("no | où", 1.5), "s3-b": ("yes où", 2.5)}


def write_set(folder, utterances):
    write_table(folder / "text", {name: text for name, (text, _) in utterances.items()})
    lengths = {name: int(seconds * RATE) for name, (_, seconds) in utterances.items()}
    write_table(folder / "utt2num_samples", lengths)
    write_table(folder / "spk2utt", {name[:2]: "" for name in utterances})


@pytest.fixture
def data(tmp_path):
    """Train and dev with tokens; an utterance of train has too many of them."""
    write_set(tmp_path / "train", TRAIN | {"s2-d": ("no " * 30, 0.2)})
    write_set(tmp_path / "dev", DEV)
    write_text(
        tmp_path / "train/excluded.tsv",
        "utterance\treason\n"
        "x1\tno such file /a/b c.wav\n"
        "x2\t0.050 s, shorter than 0.1 s\n"
        "x3\t0.070 s, shorter than 0.1 s\n",
    )
    tokens(tmp_path)
    return tmp_path


def tokens(data):
    make_tokens(
        ["--text", f"{data}/train/text", "--type", "char", "--output", f"{data}/tokens",
         "--sets", f"{data}/train", f"{data}/dev"]
    )  # fmt: skip


def make(data):
    main(["--data", str(data), "--tokens", str(data / "tokens")])
    return (data / "STATISTICS.md").read_text()


def row(page, name):
    """The cells of a table's line."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.replace(r"\|", "PIPE").split("|")][2:-1]


def test_a_set_is_counted(data, tmp_path):
    tokenizer = write_tokens(train(["yes no maybe"], "char", 0, "t"), tmp_path / "t")
    found = collect(tokenizer, data / "dev", data / "tokens/dev_excluded.tsv")
    assert (found.utterances, found.speakers, found.seconds) == (2, 1, 4.0)
    assert found.words == {"no": 1, "|": 1, "où": 2, "yes": 1}
    assert found.characters["o"] == 3
    assert found.characters[" "] == 0
    # A word boundary before each word; neighbours unknown to the model are one token.
    assert (found.tokens, found.unknown_tokens) == (3 + 2 + 3 + 4 + 3, 3)


def test_the_page_tells_the_figures_of_each_set(data):
    page = make(data)
    assert row(page, "utterances") == ["4", "2"]
    assert row(page, "speakers") == ["2", "1"]
    assert row(page, "words") == ["35", "5"]
    assert row(page, "different words") == ["3", "4"]
    assert row(page, "tokens a second") == [f"{(11 + 3 + 6 + 90) / 6.2:.1f}", f"{15 / 4:.1f}"]
    assert row(page, "length: mean") == ["1.55 s", "2.00 s"]
    assert row(page, "length: longest") == ["3.00 s", "2.50 s"]
    assert row(page, "hours") == ["0.00", "0.00"]


def test_the_page_tells_what_was_left_out_by_reason(data):
    page = make(data)
    left_out = page.split("## Left out")[1].split("##")[0].strip().splitlines()[2:]
    assert left_out == [
        "| train | 2 | x2: 0.050 s, shorter than 0.1 s |",
        "| train | 1 | x1: no such file /a/b c.wav |",
        "| train | 1 | s2-d: 90 tokens, 9 frames of audio |",
    ]


def test_the_page_tells_words_and_characters_that_train_lacks(data):
    page = make(data)
    foreign = page.split("## Words that train lacks")[1].split("##")[0]
    assert row(foreign, "dev") == ["3 (60.00 %)", "2", "où (2), PIPE (1)"]
    assert "* dev has of its own: | (U+007C, 1 times), ù (U+00F9, 2 times)" in page
    assert row(page, r"\|")[-3:] == ["U+007C", "0", "1"]


def test_what_is_not_seen_is_shown_by_code_point_and_what_markdown_takes_is_escaped():
    sets = [SetStatistics(name=n, utterances=1, samples=RATE) for n in ("train", "dev")]
    sets[1].words.update(["*y*", "<b>", "\u202eevil", "e\u0301", "می\u200cخواهم"])
    sets[1].characters.update("`*\u202e\u0301")
    shown = page("c", sets, "t", 3)
    foreign = shown.split("## Words that train lacks")[1].split("##")[0]
    for word in (r"\*y\*", r"\<b\>", r"\<U+202E\>evil", "e\u0301", "می\u200cخواهم"):
        assert f"{word} (1)" in foreign
    assert "* dev has of its own: \\* (U+002A, 1 times), \\` (U+0060, 1 times)" in shown
    assert "| \\<U+0301\\> | U+0301 |" in shown
    assert "\u202e" not in shown


def test_a_set_without_utterances_is_an_error_that_names_it(data):
    for name in ("text", "utt2num_samples", "spk2utt"):
        (data / "dev" / name).write_text("")
    with pytest.raises(ValueError, match=r"dev: no utterance to count"):
        make(data)


def test_percentiles_are_exact_to_ten_milliseconds():
    found = SetStatistics(name="x", utterances=100)
    found.lengths.update({100 + n: 1 for n in range(100)})
    assert [found.length_s(p) for p in (0, 5, 50, 100)] == [1.0, 1.04, 1.49, 1.99]


def test_the_picture_is_a_picture(data):
    make(data)
    assert (data / "lengths.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_it_is_made_once_and_again_when_data_or_tokens_change(data, capsys):
    make(data)
    first = (data / "lengths.png").read_bytes()
    capsys.readouterr()
    make(data)
    assert "unchanged, skipped" in capsys.readouterr().err
    write_set(data / "dev", DEV | {"s4-a": ("yes", 1.0)})
    assert row(make(data), "utterances") == ["4", "3"]
    assert (data / "lengths.png").read_bytes() != first
    (data / "lengths.png").unlink()
    make(data)
    assert (data / "lengths.png").exists()
    write_text(data / "dev/excluded.tsv", "utterance\treason\nx\twhy\n")
    assert "| dev | 1 | x: why |" in make(data)


def test_a_failure_leaves_the_old_page(data):
    before = make(data)
    (data / "dev/spk2utt").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"dev/spk2utt:1: not UTF-8"):
        make(data)
    assert (data / "STATISTICS.md").read_text() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "none"], "there is no folder none/train"),
        (["--tokens", "none"], "No such file or directory: none/bpe.model"),
    ],
)
def test_a_folder_that_is_not_there_is_one_line(data, capsys, change, message):
    with pytest.raises(SystemExit) as stop:
        run(lambda: main(["--data", str(data), "--tokens", str(data / "tokens"), *change]))
    assert stop.value.code != 0
    assert capsys.readouterr().err.endswith(f"{message}\n")
