"""Rows of a manifest that cost no more than themselves."""

import json
from functools import partial

import pytest
from toy_manifest import (
    excluded,
    prepare,
    write_rows,
    write_sounds_of,
    write_table,
)

from local.corpora.manifest import ManifestCorpus
from local.corpora.utterance import SETS


@pytest.fixture
def rows(tmp_path):
    return partial(write_rows, tmp_path / "own")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"offset": "soon"}, "offset must be a number >= 0, got 'soon'"),
        ({"offset": float("nan")}, "offset must be a number >= 0, got nan"),
        ({"offset": [1]}, r"offset must be a number >= 0, got [1]"),
        ({"duration": 0}, "duration must be a number > 0, got 0"),
        ({"offset": True}, "offset must be a number >= 0, got True"),
        ({"id": True}, "id must be a string, got True"),
        ({"speaker": ["s"]}, "speaker must be a string, got ['s']"),
        ({"path": ["1.wav"]}, "path must be a string, got ['1.wav']"),
        ({"text": 5}, "text must be a string, got 5"),
        ({"text": None}, "empty transcript"),
        ({"text": "\ud800"}, "text is not UTF-8"),
        ({"path": {"bytes": "RIFF"}}, "no path"),
    ],
)
def test_a_bad_value_is_listed_with_its_line(rows, tmp_path, change, reason):
    path = rows(*[{"path": f"{i}.wav", "text": "one"} for i in range(4)])
    with path.open("a") as stream:
        stream.write(json.dumps({"path": "1.wav", "text": "one", **change}) + "\n")
    out = prepare(path, tmp_path / "out")
    assert excluded(out / "train") == {"all.jsonl:5": reason}


def test_bytes_that_are_not_utf_8_cost_their_row_only(tmp_path):
    folder = tmp_path / "own"
    path = write_table(folder / "table.csv", split=False)
    with path.open("ab") as stream:
        stream.write(b"x,clips/train00.wav,caf\xe9,s\n")
    assert excluded(prepare(path, tmp_path / "out") / "train")["table.csv:27"] == (
        "sentence is not UTF-8"
    )


def test_a_folder_in_the_place_of_audio_is_listed(rows, tmp_path):
    path = rows(*[{"path": f"{i}.wav", "text": "one"} for i in range(4)])
    with path.open("a") as stream:
        stream.write(json.dumps({"path": ".", "text": "one", "speaker": "s"}) + "\n")
    listed = excluded(prepare(path, tmp_path / "out") / "train")
    assert listed == {"s-unnamed": f"a folder, not a file: {path.parent}"}


def test_a_quoted_text_over_two_lines_and_a_byte_order_mark_are_read(tmp_path):
    write_sounds_of(tmp_path, 3)
    rows = "".join(f'{i},{i}.wav,"one,\ntwo"\n' for i in range(3)) + '3,"a\nb"\n'
    (tmp_path / "all.csv").write_text("\ufeffid, path, text\n" + rows, encoding="utf-8")
    corpus = ManifestCorpus(path=tmp_path / "all.csv")
    items = [item for name in SETS for item in corpus.items(name, 1)]
    assert sorted(item.id for item in items) == ["0", "1", "2", "all.csv:8"]
    assert items[-1].text == "one,\ntwo"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({2: '"one'}, {4: "unexpected end of data; an odd quotation mark?"}),
        ({2: '"one', 5: '"one, two"'}, {4: "',' expected after '\"'; an odd quotation mark?"}),
        (
            {2: '"one', 5: 'one"'},
            {
                4: "its quotation mark closes only in line 7; line 5 is a row of its own",
            },
        ),
    ],
)
def test_an_odd_quotation_mark_in_a_csv_costs_its_row_only(tmp_path, bad, reason):
    write_sounds_of(tmp_path, 9)
    rows = "".join(f"{i},{i}.wav,{bad.get(i, 'one')}\n" for i in range(9))
    (tmp_path / "all.csv").write_text("id,path,text\n" + rows)
    corpus = ManifestCorpus(path=tmp_path / "all.csv")
    items = [item for name in SETS for item in corpus.items(name, 1)]
    found = {item.id: item.reason for item in items if hasattr(item, "reason")}
    assert found == {f"all.csv:{line}": text for line, text in reason.items()}
    texts = {item.id: item.text for item in items if hasattr(item, "text")}
    assert len(texts) == 8
    assert set(texts.values()) <= {"one", "one, two", 'one"'}


def test_an_odd_quotation_mark_in_a_tsv_is_a_letter(tmp_path):
    write_sounds_of(tmp_path, 3)
    rows = "".join(f'{i}\t{i}.wav\t"one two\n' for i in range(3))
    (tmp_path / "all.tsv").write_text("id\tpath\ttext\n" + rows)
    corpus = ManifestCorpus(path=tmp_path / "all.tsv")
    assert [item.text for name in SETS for item in corpus.items(name, 1)] == ['"one two'] * 3
