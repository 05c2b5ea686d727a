"""What this machine has, what is missing and what for: `python -m espnet_local.bin.check`.

Versions come from the packages' metadata, since importing ESPnet takes tens of seconds. The file
needs nothing but the standard library, so that it runs where everything else is missing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

# Distribution names, as in pyproject.toml.
REQUIRED = (
    "torch",
    "torchaudio",
    "espnet",
    "espeakng-loader",
    "kaldialign",
    "kaldiio",
    "lhotse",
    "matplotlib",
    "numba",
    "numpy",
    "pyyaml",
    "rich",
    "safetensors",
    "sentencepiece",
    "soundfile",
    "soxr",
    "tensorboard",
    "wrapt",
)

# Programs, and what having them is good for.
PROGRAMS = {
    "sclite": "NIST's own scoring of the .trn files beside the results (Debian: sctk); "
    "the WER table is made without it",
    "sbatch": "jobs on a Slurm cluster: cmd_backend=slurm ./run.sh",
    "qsub": "jobs on a GridEngine cluster: cmd_backend=sge ./run.sh",
}

WARP_RNNT_USE = "a faster transducer loss on NVIDIA GPUs; torchaudio's is used without it"


def version_of(distribution: str) -> str | None:
    """The installed version, None when the package is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def missing_parts() -> list[str]:
    """The required parts that this machine lacks, each as one line."""
    problems = []
    if not (3, 10) <= sys.version_info < (3, 13):
        problems.append(f"python must be 3.10, 3.11 or 3.12, got {platform.python_version()}")
    absent = [name for name in REQUIRED if version_of(name) is None]
    if absent:
        requirements = Path(__file__).resolve().parents[2] / "requirements.txt"
        python = sys.executable
        problems.append(
            f"missing packages: {', '.join(absent)}; install them with: "
            f"{python} -m pip install uv && "
            f"{python} -m uv pip install --python {python} --no-deps -r {requirements}"
        )
    return problems


def loading_problems() -> list[str]:
    """The packages with compiled parts that are installed but do not load, each as one line."""
    problems = []
    for name in ("torch", "torchaudio", "sentencepiece", "soundfile"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            problems.append(f"{name} does not load: {' '.join(str(error).split())}")
    return problems


def gpu_lines() -> list[str]:
    """One line a GPU that torch can use, or one that says what having none means."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(i) for i in range(count)]
    lines = [f"{p.name}, {p.total_memory / 2**30:.0f} GB" for p in properties]
    return lines or ["none: fine for size tiny; xlsr_300m wants one of 16 GB or more"]


def show(name: str, value: str) -> None:
    """Prints one row of the report."""
    print(f"  {name:<16} {value}")


def report() -> list[str]:
    """Prints the whole report.

    Returns:
        what is missing, one line each; empty when everything required is there.
    """
    problems = missing_parts()
    print("required")
    show("python", f"{platform.python_version()} ({sys.executable})")
    for name in REQUIRED:
        show(name, version_of(name) or "MISSING")
    if not problems:
        problems = loading_problems()

    print("devices")
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    show("CPU", f"{cores} cores, {memory_bytes / 2**30:.0f} GB of memory")
    for line in gpu_lines() if not problems else ["unknown until torch loads"]:
        show("GPU", line)

    print("optional")
    show("warp_rnnt", version_of("warp-rnnt") or f"not installed; good for {WARP_RNNT_USE}")
    for name, use in PROGRAMS.items():
        show(name, shutil.which(name) or f"not installed; good for {use}")
    return problems


def main() -> int:
    """Exit status 0 when everything required is there, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m espnet_local.bin.check",
        description="Says what this machine has, what is missing and what for.",
    )
    parser.add_argument(
        "--missing", action="store_true", help="only say what is missing; at once and without torch"
    )
    arguments = parser.parse_args()
    problems = missing_parts() if arguments.missing else report()
    for line in problems:
        print(f"check: {line}")
    if not problems and not arguments.missing:
        print("everything required is there")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
