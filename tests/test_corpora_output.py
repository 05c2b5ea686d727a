"""The output folder of a corpus: what its sets share, and a claim that cannot be read."""

import pytest
from toy_lhotse import make_lhotse

from local.corpora.__main__ import main


@pytest.fixture
def call(tmp_path):
    """A small corpus, prepared with `main(call)`."""
    return ["--corpus", f"lhotse:{make_lhotse(tmp_path / 'lhotse')}", "--output", f"{tmp_path}/out"]


@pytest.mark.parametrize("claim", ["{", "[]"])
def test_a_claim_that_cannot_be_read_is_named(call, tmp_path, claim):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.corpus.json").write_text(claim)
    with pytest.raises(ValueError, match=r"out/.corpus.json is not readable; delete it if"):
        main([*call, "--check"])


def test_utterances_in_several_sets_are_said(tmp_path, capsys):
    folder = tmp_path / "own"
    for name in ("train", "dev", "test"):
        (folder / name).mkdir(parents=True)
        source = make_lhotse(tmp_path / f"audio_{name}").parent
        wav = next(source.rglob("*.wav"))
        other = f"{name}-own"
        for table, value in (("wav.scp", wav), ("text", "hello"), ("utt2spk", "s")):
            lines = sorted([f"both {value}\n", f"{other} {value}\n"])
            (folder / name / table).write_text("".join(lines))
    main(["--corpus", f"kaldi:{folder}", "--output", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "2 ids in several sets, the first: text: both: its id is in" in said
