"""The folder that downloaded encoders are kept in: one folder a name, no torch, no network.

    $XLSR_PRETRAINED, or pretrained/ in the working directory
        WAV2VEC2_XLSR53/wav2vec2_fairseq_large_xlsr53.pth
        facebook--wav2vec2-large-xlsr-53/{config.json,model.safetensors}
        */SHA256SUMS    of the files beside it, as `sha256sum -c` reads them
        */*.part        what a download that was cut short goes on with
        .*.lock         held by a download

`local/download_pretrained.sh <name>` fills it; training only reads it, so that the nodes it runs on
need no network.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from espnet_local.config import nearest

# torchaudio's bundles and the file of each.
BUNDLES = {
    "WAV2VEC2_XLSR53": "wav2vec2_fairseq_large_xlsr53.pth",
    "WAV2VEC2_XLSR_300M": "wav2vec2_xlsr_300m.pth",
    "WAV2VEC2_XLSR_1B": "wav2vec2_xlsr_1b.pth",
    "WAV2VEC2_XLSR_2B": "wav2vec2_xlsr_2b.pth",
    "WAV2VEC2_LARGE_LV60K": "wav2vec2_fairseq_large_lv60k.pth",
}
HF_CONFIG = "config.json"
HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there counts
SUMS_NAME = "SHA256SUMS"  # written last: with it, the folder is complete
DOWNLOAD = "local/download_pretrained.sh"


def is_downloadable(name: str) -> bool:
    """Whether a name stands for something to be fetched: a bundle, or a Hugging Face id."""
    return not Path(name).exists() and (name in BUNDLES or _is_id(name))


def check_name(name: str) -> None:
    """Whether a name may stand for pretrained weights.

    Raises:
        FileNotFoundError: for what is no file, no folder, no bundle and no Hugging Face id.
        ValueError: for no name at all, and for a file that its folder stands for.
    """
    path = Path(name)
    if not name.strip():
        raise ValueError(f"a name of pretrained weights must not be empty, got {name!r}")
    if path.is_file() and (path.name in HF_WEIGHTS or path.suffix == ".safetensors"):
        raise ValueError(f"{name}: name its folder, {path.parent}, with {HF_CONFIG} in it")
    if not (path.exists() or is_downloadable(name)):
        hint = nearest(name, BUNDLES)
        what = f"no such checkpoint, folder, Hugging Face id or bundle of torchaudio{hint}"
        raise FileNotFoundError(2, what, name)


def cached_folder(name: str) -> Path:
    """Where the files of a bundle or an id lie, or are to lie."""
    cache = Path(os.environ.get("XLSR_PRETRAINED") or "pretrained")
    return cache / name.replace("/", "--")


def weight_files(name: str) -> list[Path]:
    """The file of weights that a name stands for, none for a folder without one.

    A changed config.json changes no weight: whether it fits is checked when they are loaded.

    Raises:
        FileNotFoundError: when it is not here, saying how to get it.
        ValueError: as `check_name`.
    """
    check_name(name)
    path = Path(name)
    if path.is_file():
        return [path]
    folder = path if path.is_dir() else cached_folder(name)
    names = [BUNDLES[name]] if not path.exists() and name in BUNDLES else HF_WEIGHTS
    files = [folder / file for file in names if (folder / file).is_file()][:1]
    if not files and not path.exists():
        raise FileNotFoundError(
            2, f"not downloaded yet, run {DOWNLOAD} {name}; it belongs into {folder}", name
        )
    return files


def is_cached(name: str) -> bool:
    """Whether the download of a bundle or an id is complete."""
    folder = cached_folder(name)
    weights = [BUNDLES[name]] if name in BUNDLES else list(HF_WEIGHTS)
    config = name in BUNDLES or (folder / HF_CONFIG).exists()
    return config and any((folder / file).exists() for file in weights)


def _is_id(name: str) -> bool:
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) or name.endswith((".pt", ".pth")):
        return False
    # exp/nothere is a mistyped path where exp is a folder.
    return not Path(name).parent.is_dir()
