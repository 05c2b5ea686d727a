"""What the card of a packed model tells."""

import re
import shlex
import shutil
import zipfile

import pytest
import torch
import yaml
from toy_model import write_stage
from toy_pack import members, score, write_trained_stage

from espnet_local.bin.pack import main
from espnet_local.stamp import read_stamp, write_stamp


@pytest.fixture
def stage(tmp_path):
    """A finished sub-stage."""
    return write_trained_stage(tmp_path)


@pytest.fixture(autouse=True)
def without_espnet(monkeypatch):
    """ESPnet's packing takes seconds, and the card is made before it."""

    def only_zip(staging, packed):
        with zipfile.ZipFile(packed, "w") as archive:
            for path in staging.iterdir():
                archive.write(path, path.name)

    monkeypatch.setattr("espnet_local.sharing.pack._espnet_pack", only_zip)


def card(stage, *more):
    main(["--model", str(stage), "--force", *more])
    return members(stage.parent / "toy_stage5b.zip")["README.md"].decode()


def cells(card, *wanted):
    """The rows of the card's tables that begin so, without the padding."""
    rows = (re.split(r" *\| *", line.strip("| ")) for line in card.splitlines() if "|" in line)
    return [row for row in rows if row[: len(wanted)] == list(wanted)]


def test_the_card_tells_training_and_provenance_without_folders(stage):
    text = card(stage, "--licence", "cc-by-4.0")
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "cc-by-4.0"
    assert "160 ms, 1 left, 4 sinks; algorithmic latency 165 ms" in text
    assert cells(text, "1") == [["1", "full context", "3", "40.2"]]
    assert cells(text, "5b") == [["5b", "160 ms, 1 left, 4 sinks", "2", "12.3"]]
    assert "The first of them started from: .../xlsr_53.pt." in text
    for what, value in (
        ("seed", "7"),
        ("commit", "c0ffee"),
        ("torch", "2.11"),
        ("espnet", "202511"),
        ("call of the recipe", "`./run.sh --corpus kaldi:.../own`"),
        ("data, fingerprint", "own 0123abcd"),
        ("config, data, tokens and parent, fingerprint", "trained"),
    ):
        assert cells(text, what) == [[what, value]]
    assert 'Recognizer.from_pretrained("toy_stage5b.zip")' in text


def test_the_card_says_that_a_model_is_not_scored_and_its_licence_not_known(stage):
    text = card(stage)
    assert "Not scored yet." in text
    assert "license: unknown" in text
    assert "None was named" in text
    score(stage, substage="5a")
    assert "Not scored yet." in card(stage)


def test_the_card_has_the_rows_of_its_own_sub_stage_with_their_latency(stage, tmp_path):
    score(stage)
    score(stage, substage="5a", wer="99.9")
    text = card(stage)
    assert cells(text, "test") == [
        ["test", "160 ms, 1 left, 4 sinks", "streaming", "beam", "200", "12.5", "50.0", "165",
         "90 / 230 / 300", "0.015"]
    ]  # fmt: skip
    table = members(stage.parent / "toy_stage5b.zip")["results.tsv"].decode().splitlines()
    lines = (stage.parent / "results.tsv").read_text().splitlines()
    assert table == lines[:2]


def test_rows_of_a_model_that_was_trained_again_since_are_left_out(stage, capsys):
    score(stage)
    weights = torch.load(stage / "valid.wer.best.pth", weights_only=True)
    weights["decoder.embed.weight"] += 1.0
    torch.save(weights, stage / "valid.wer.best.pth")
    assert "Not scored yet." in card(stage)
    assert "1 of 1 rows of sub-stage 5b are of an earlier model" in capsys.readouterr().err
    score(stage, wer="11.1")
    assert [row[5] for row in cells(card(stage), "test")] == ["11.1"]


def test_rows_that_do_not_tell_of_which_model_they_are_are_left_out(stage, capsys):
    score(stage, model="-")
    path = stage.parent / "results.tsv"
    for column in ("model", "of_old"):
        path.write_text(path.read_text().replace("\tmodel\n", f"\t{column}\n"))
        assert "Not scored yet." in card(stage)
        assert "1 of 1 rows of sub-stage 5b are of an earlier" in capsys.readouterr().err


def test_a_model_that_training_moved_aside_gets_no_rows_of_the_new_one(stage, capsys):
    score(stage)
    aside = stage.with_name("stage5b.replaced1")
    shutil.copytree(stage, aside)
    main(["--model", str(aside)])
    text = members(stage.parent / "toy_stage5b.replaced1.zip")["README.md"].decode()
    assert "Not scored yet." in text
    assert "stage5b.replaced1 is not named stage5b" in capsys.readouterr().err


def test_a_table_that_is_none_is_an_error_naming_it(stage):
    (stage.parent / "results.tsv").write_text("something\nelse\n")
    with pytest.raises(ValueError, match=r"results.tsv: not a table of results: KeyError"):
        card(stage)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: f"{line}\tmore", r"results.tsv:3: must have 24 cells, got 25"),
        (lambda line: line.rpartition("\t")[0], r"results.tsv:3: must have 24 cells, got 23"),
        (lambda line: line.replace("\t160\t", "\tsome\t"), r"results.tsv: not a table of results"),
    ],
)
def test_a_row_that_is_none_is_an_error_naming_the_table(stage, damage, message):
    score(stage)
    score(stage)
    path = stage.parent / "results.tsv"
    *kept, last = path.read_text().splitlines()
    path.write_text("\n".join([*kept, damage(last)]) + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        card(stage)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["stage5b", "stage1"])
@pytest.mark.parametrize(
    ("note", "message"),
    [
        ({"made_by": "me"}, "made_by must be a mapping, got 'me'"),
        ({"corpus": ["own"]}, r"corpus must be a mapping, got \['own'\]"),
        ({"pretrained": {}}, "pretrained must be text, got {}"),
        ({"parent": ["1"]}, r"parent must be text, got \['1'\]"),
        ({"contexts": 3}, "contexts must be a mapping, got 3"),
        ({"contexts": {"chunk": 3}}, "contexts: unknown key 'chunk'|contexts.*chunk"),
    ],
)
def test_a_stamp_of_another_form_is_an_error_naming_it(stage, folder, note, message):
    changed = stage.parent / folder
    write_stamp(changed, **(read_stamp(changed) | note))
    with pytest.raises(ValueError, match=rf"{folder}/.done.json: {message}") as caught:
        main(["--model", str(stage), "--output", str(stage.parent / "new/model.zip")])
    assert "\n" not in str(caught.value)
    assert not (stage.parent / "new").exists()


def test_values_of_another_type_in_a_stamp_are_told_as_they_are(stage):
    write_stamp(stage, **(read_stamp(stage) | {"made_by": {"call": 3, "commit": 4, "torch": 2.1}}))
    text = card(stage)
    assert [cells(text, what)[0][1] for what in ("call of the recipe", "commit", "torch")] == [
        "`3`", "4", "2.1",
    ]  # fmt: skip


def test_a_parent_that_was_trained_again_is_not_told_as_passed(stage):
    write_stamp(stage.parent / "stage1", "second", substage="1", contexts={}, best_epoch=9)
    text = card(stage)
    assert cells(text, "1") == [["1", "no longer there", "-", "-"]]
    assert "The first of them" not in text


def test_what_is_drawn_for_each_batch_is_told_in_short(stage):
    stamp = read_stamp(stage)
    contexts = {"chunk_frames": [16, 32], "left_chunks": [1, None], "sink_frames": [0]}
    write_stamp(stage, **(stamp | {"contexts": contexts}))
    (row,) = cells(card(stage), "5b")
    assert row[1] == "drawn from 320/640 ms, 1/all left, 0 sinks"


def test_names_with_blanks_are_quoted_where_a_shell_or_python_reads_them(tmp_path):
    write_trained_stage(tmp_path)
    stage = (tmp_path / "exp/toy").rename(tmp_path / "exp/my 'own'") / "stage5b"
    main(["--model", str(stage)])
    name = "my 'own'_stage5b.zip"
    text = members(stage.parent / name)["README.md"].decode()
    assert f"--model {shlex.quote(name)} speech.wav" in text
    assert f'Recognizer.from_pretrained("{name}")' in text
    assert f'unpack("{name}", "unpacked")' in text


@pytest.mark.parametrize(
    ("here", "named"), [("stage5b", "."), ("stage1", "../stage5b/"), ("stage5b/in", "..")]
)
def test_a_packed_file_lies_beside_the_sub_stage_however_that_is_named(
    stage, monkeypatch, capsys, here, named
):
    (stage.parent / here).mkdir(exist_ok=True)
    monkeypatch.chdir(stage.parent / here)
    main(["--model", named])
    assert capsys.readouterr().out == f"{stage.parent}/toy_stage5b.zip\n"
    assert "# toy, sub-stage 5b" in members(stage.parent / "toy_stage5b.zip")["README.md"].decode()


def test_a_model_of_full_context_is_told_to_stream_with_a_chunk(tmp_path):
    write_stage(tmp_path / "exp/toy/stage5b", chunk_frames=[None])
    text = card(tmp_path / "exp/toy/stage5b")
    assert "does not stream by itself" in text
    assert "--model toy_stage5b.zip --chunk_ms 640 speech.wav" in text
    assert 'from_pretrained("toy_stage5b.zip", chunk_ms=640)' in text
