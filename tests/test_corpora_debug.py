"""Real corpora in their true formats, from their own files to a trained model, on a sliver."""

import re
from pathlib import Path

import pytest
from conftest import ROOT, Shell
from toy_ami import make_ami
from toy_commonvoice import make_commonvoice, pack
from toy_lhotse import make_lhotse
from toy_manifest import write_table

from espnet_local.stamp import read_stamp

pytestmark = pytest.mark.slow


def ami(folder: Path) -> list[str]:
    make_ami(folder / "ami")
    return ["egs/xlsr_transducer/ami/run.sh", "--corpus_dir", str(folder / "ami")]


def commonvoice(folder: Path) -> list[str]:
    tar = pack(make_commonvoice(folder, "et"), folder / "et.tar.gz")
    call = "egs/xlsr_transducer/commonvoice/run.sh"
    return [call, "--corpus_dir", str(tar), "--lang", "et"]


def lhotse(folder: Path) -> list[str]:
    return ["./run.sh", "--corpus", f"lhotse:{make_lhotse(folder / 'lhotse')}"]


def manifest(folder: Path) -> list[str]:
    (folder / "mine").mkdir()
    return ["./run.sh", "--corpus", f"manifest:{write_table(folder / 'mine/rows.csv')}"]


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        (ami, "ami_ihm"),
        (commonvoice, "commonvoice_et"),
        (lhotse, "lhotse_manifests"),
        (manifest, "manifest_rows"),
    ],
)
def test_a_corpus_ends_in_validated_data_and_a_trained_model(
    corpus, name, tmp_path: Path, shell: Shell
) -> None:
    script, *call = corpus(tmp_path)
    made = ("--data", str(tmp_path / "data"), "--expdir", str(tmp_path / "exp"), "--debug")
    done = shell(script, *call, "--size", "tiny", "--stop_stage", "1", *made)
    assert done.returncode == 0, done.stderr[-4000:]
    data, exp = tmp_path / f"data/{name}_debug", tmp_path / f"exp/{name}_tiny_debug"
    assert read_stamp(exp / "stage1") is not None
    excluded = (data / "train/excluded.tsv").read_text().splitlines()[1:]
    assert excluded
    said = re.search(r"train: \d+ utterances, .* excluded (\d+)", done.stderr)
    assert said is not None
    assert int(said[1]) == len(excluded)
    assert "## Left out" in (data / "STATISTICS.md").read_text()
    sets = [str(data / part) for part in ("train", "dev", "test")]
    checked = shell(ROOT / "local/validate_data_dir.sh", *sets)
    assert checked.returncode == 0, checked.stdout
