"""Packs a finished sub-stage into one file, with ESPnet's own packing.

    meta.yaml            ESPnet's: which member is what
    config.yaml          the model and its training, not the machine it was trained on
    valid.wer.best.pth   the weights of the best epoch
    bpe.model tokens.txt the token model, and ESPnet's token list
    README.md            the model card
    results.tsv          the rows of this sub-stage, where it is scored

ESPnet's `unpack` and `decode.model.load_model` read it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from espnet_local.config import BEST_CHECKPOINT, load_yaml
from espnet_local.decode.model_files import CONFIG_NAME
from espnet_local.files import write_text
from espnet_local.sharing.card import CardFacts, model_card
from espnet_local.sharing.results import result_rows, rows_as_tsv
from espnet_local.stamp import STAMP_NAME, read_stamp
from espnet_local.tokens import LIST_NAME, MODEL_NAME

# What goes into a shared config: whatever rebuilds the model, and how it was trained. All other
# options of ESPnet, and those to come, are about the machine and its files.
SHARED_KEYS = {
    "version",
    # The model, and the text side of it.
    "encoder", "encoder_conf", "decoder", "decoder_conf", "model", "model_conf", "ctc_conf",
    "joint_net_conf", "input_size", "frontend", "frontend_conf", "specaug", "specaug_conf",
    "normalize", "normalize_conf", "preencoder", "preencoder_conf", "postencoder",
    "postencoder_conf", "init", "token_type", "use_preprocessor", "preprocessor",
    "preprocessor_conf", "non_linguistic_symbols", "cleaner", "g2p",
    # Its training.
    "seed", "optim", "optim_conf", "scheduler", "scheduler_conf", "exclude_weight_decay",
    "exclude_weight_decay_conf", "max_epoch", "num_iters_per_epoch", "accum_grad", "grad_clip",
    "grad_clip_type", "use_amp", "train_dtype", "batch_type", "batch_bins", "batch_size",
    "valid_batch_bins", "sort_in_batch", "sort_batch", "best_model_criterion", "keep_nbest_models",
}  # fmt: skip
_WORD = re.compile(r"(\w[\w.+-]*)?")


def pack_model(folder: Path, output: Path, licence: str, force: bool = False) -> None:
    """Writes a packed file, whole or not at all.

    Args:
        folder: a finished sub-stage.
        output: the file, a .zip.
        licence: of the model, for the card; an identifier such as `apache-2.0`.
        force: whether a file of that name may be replaced.

    Raises:
        FileNotFoundError: when the folder or a file in it is missing.
        ValueError: when the sub-stage is not finished or not to be loaded, or the output is there.
    """
    _check_output(output, force)
    if not re.fullmatch(r"[\w.+-]+", licence):
        raise ValueError(f"the licence must be an identifier such as apache-2.0, got {licence!r}")
    stamp = read_stamp(folder)
    if stamp is None:
        if not folder.is_dir():
            raise FileNotFoundError(2, "no such folder", str(folder))
        raise ValueError(f"{folder}: not finished (no {STAMP_NAME}); train it to its end first")
    # This brings torch, and finds what does not fit together before anything is written.
    from espnet_local.decode.model import load_model

    model = load_model(folder).model
    config = load_yaml(folder / CONFIG_NAME)
    rows = result_rows(folder, str(stamp.get("substage")))
    facts = CardFacts(
        folder=folder,
        name=output.name,
        stamp=stamp,
        context=model.encoder.spec.contexts.first,
        size=str(model.encoder.spec.size),
        parameters=sum(weight.numel() for weight in model.parameters()),
        tokens=len(config["token_list"]),
        results=rows,
        licence=licence,
    )
    card = model_card(facts)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output: it is renamed into its place.
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as place:
        staging = Path(place) / "files"
        staging.mkdir()
        write_text(
            staging / CONFIG_NAME,
            yaml.safe_dump(shared_config(config), sort_keys=False, allow_unicode=True),
        )
        write_text(staging / LIST_NAME, "\n".join(config["token_list"]) + "\n")
        write_text(staging / "README.md", card)
        if rows:
            write_text(staging / "results.tsv", rows_as_tsv(rows))
        shutil.copyfile(folder / MODEL_NAME, staging / MODEL_NAME)
        _link(folder / BEST_CHECKPOINT, staging / BEST_CHECKPOINT)
        packed = Path(place).resolve() / "packed.zip"
        _espnet_pack(staging, packed)
        _put(packed, output)


def shared_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config as it is packed: it names no file but its token model, and that relatively."""
    kept = {key: _words(value) for key, value in config.items() if key in SHARED_KEYS}
    # A token may look like a path.
    return {**kept, "token_list": config["token_list"], "bpemodel": MODEL_NAME}


def _words(value: Any) -> Any:
    """A value whose texts are names such as `adamw`; None stands for any other text."""
    if isinstance(value, dict):
        return {key: _words(v) for key, v in value.items() if _words(key) is not None}
    if isinstance(value, list):
        return [_words(v) for v in value]
    return None if isinstance(value, str) and not _WORD.fullmatch(value) else value


def _check_output(output: Path, force: bool) -> None:
    if output.suffix != ".zip":
        raise ValueError(f"the output must end in .zip, got {str(output)!r}")
    if output.is_dir():
        raise ValueError(f"{output} is a folder, it must be a file")
    if output.exists() and not force:
        raise ValueError(f"{output} is there already; --force replaces it")


def _link(source: Path, target: Path) -> None:
    """The weights of a large model are not copied where a link will do."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _espnet_pack(staging: Path, packed: Path) -> None:
    """ESPnet's own program; members are called as files are from its working directory."""
    # The names are the parameters of ESPnet's Speech2Text, which unpacking gives back.
    named = ["--asr_train_config", CONFIG_NAME, "--asr_model_file", BEST_CHECKPOINT]
    others = sorted({path.name for path in staging.iterdir()} - {CONFIG_NAME, BEST_CHECKPOINT})
    options = [part for name in others for part in ("--option", name)]
    done = subprocess.run(
        [sys.executable, "-m", "espnet2.bin.pack", "asr", *named, *options, "--outpath", packed],
        cwd=staging,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise OSError(f"ESPnet's packing failed: {reason}")


def _put(packed: Path, output: Path) -> None:
    with packed.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(packed, output)
