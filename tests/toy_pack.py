"""A sub-stage as training leaves it, with its history, and the content of packed files."""

import zipfile
from pathlib import Path

import yaml
from toy_model import write_stage

from espnet_local.files import fingerprint
from espnet_local.results import COLUMNS
from espnet_local.stamp import write_stamp

CONTEXT = {"chunk_frames": [8], "left_chunks": [1], "sink_frames": [4]}


def write_trained_stage(root: Path) -> Path:
    """Writes `exp/toy/stage5b`, whose config and stamps name files of this machine."""
    folder = root / "exp/toy/stage5b"
    write_stage(folder, **CONTEXT)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {
        "config": f"{folder}/espnet.yaml",
        "output_dir": str(folder),
        "init_param": [f"{root}/exp/toy/stage4/valid.wer.best.pth:::encoder.train_batches"],
        "train_data_path_and_name_and_type": [["data/train/text", "text", "text"]],
        "noise_scp": f"{root}/noise.scp",
        "dist_init_method": f"file://{root}/sync",
        "bpemodel": f"{folder}/bpe.model",
        "token_type": "bpe",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    folder.parent.joinpath("stage1").mkdir()
    write_stamp(
        folder.parent / "stage1", "first", substage="1", parent="pretrained", best_epoch=3,
        valid_wer=40.25, contexts={"chunk_frames": [None]}, pretrained=f"{root}/xlsr_53.pt",
    )  # fmt: skip
    write_stamp(
        folder, "trained", substage="5b", parent="1", parent_fingerprint="first", seed=7,
        best_epoch=2, valid_wer=12.3, contexts=CONTEXT,
        corpus={"name": "own", "fingerprint": "0123abcd"},
        made_by={
            "commit": "c0ffee", "torch": "2.11", "espnet": "202511", "python": "3.11",
            "call": f"./run.sh --corpus kaldi:{root}/own",
        },
    )  # fmt: skip
    return folder


def members(path):
    """The content of a packed file by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def score(stage, substage="5b", wer="12.5", model=None):
    """Adds a streamed row of these weights, or of others, to the experiment's table."""
    weights = fingerprint(files=[stage / "valid.wer.best.pth"])
    row = dict.fromkeys(COLUMNS, "-") | {
        "substage": substage, "dataset": "test", "chunk_ms": "160", "left_chunks": "1",
        "sink_frames": "4", "decoding": "streaming", "method": "beam", "wrd": "200", "err": wer,
        "s_err": "50.0", "em_p50_ms": "90", "em_p90_ms": "230", "em_p99_ms": "300", "rtf": "0.015",
        "model": model or weights,
    }  # fmt: skip
    path = stage.parent / "results.tsv"
    if not path.exists():
        path.write_text("\t".join(COLUMNS) + "\n")
    with path.open("a") as stream:
        stream.write("\t".join(row.values()) + "\n")
