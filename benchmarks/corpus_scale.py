"""Ten times the utterances, the same memory: validation, tokens and statistics of a large corpus.

    python -m benchmarks.corpus_scale             # 10 000 against 100 000, two minutes

Makes synthetic Kaldi directories in a temporary folder (100 MB): recordings of 1 to 12 s as FLAC in
an archive, each entry used by many utterances, words by Zipf's law, 25 utterances a speaker. Runs
the recipe's own commands on both, each in a process of its own, and compares the largest memory
that any process of a command had. Training SentencePiece keeps its sentences, up to a bound.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Row, table

DISTINCT_RECORDINGS = 400
DISTINCT_WORDS = 30_000
UTTERANCES_PER_SPEAKER = 25
WORDS_PER_SECOND = 2.5
SETS = {"train": 1.0, "dev": 0.01, "test": 0.01}  # in shares of the utterances
GOAL = "<=1.2"


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    megabytes: float  # of its largest process


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--small", type=int, default=10_000, help="utterances")
    parser.add_argument("--large", type=int, default=100_000, help="utterances")
    parser.add_argument("--nj", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small, large = (
            measure(Path(folder) / str(utterances), utterances, options.nj)
            for utterances in (options.small, options.large)
        )
    rows = [
        Row(
            name=name,
            ratio=large[name].megabytes / small[name].megabytes,
            goal="" if name.startswith("train") else GOAL,
            unit="MB",
            ours=large[name].megabytes,
            peer=small[name].megabytes,
            note=f"{large[name].seconds:.0f} s, {small[name].seconds:.0f} s",
        )
        for name in small
    ]
    print(f"{options.large} utterances (ours) against {options.small} (peer), nj {options.nj}\n")
    print(table(rows))


def measure(folder: Path, utterances: int, nj: int) -> dict[str, Cost]:
    """The cost of each command on a corpus of this size."""
    # In a process of its own: what it takes would count as the memory of those started later.
    maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, utterances))
    maker.start()
    maker.join()
    sets = [str(folder / name) for name in SETS]
    check = ["local.validate_data", *sets, "--nj", str(nj), "--tokens", f"{folder}/tokens"]
    tokens = ["local.tokens", "--text", f"{folder}/train/text", "--vocab_size", "500"]
    calls = {
        "train 500 unigram tokens": [*tokens, "--output", f"{folder}/tokens"],
        "count tokens": [
            *tokens, "--reuse", f"{folder}/tokens", "--output", f"{folder}/counts", "--sets", *sets
        ],
        "validate, audio and tokens against frames": check,
        "statistics": ["local.corpus_statistics", "--data", str(folder), "--tokens",
                       f"{folder}/counts"],
    }  # fmt: skip
    return {name: cost([sys.executable, "-m", *call]) for name, call in calls.items()}


def cost(command: list[str]) -> Cost:
    """Runs a command to its end.

    Raises:
        RuntimeError: when it fails.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # The maximum over the process and all it waited for, in KB.
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")
    return Cost(time.perf_counter() - begin, usage.ru_maxrss / 1024)


def make(folder: Path, utterances: int) -> None:
    """Writes train, dev and test."""
    import numpy as np

    from espnet_local.files import write_table
    from local.corpora.writer import invert

    generator = np.random.default_rng(0)
    entries = _recordings(folder, generator)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    shares = 1 / np.arange(3, 3 + len(letters))
    words = [
        "".join(generator.choice(letters, 1 + generator.poisson(4), p=shares / shares.sum()))
        for _ in range(DISTINCT_WORDS)
    ]
    chances = 1 / np.arange(1, 1 + DISTINCT_WORDS)
    chances /= chances.sum()
    for set_name, share in SETS.items():
        names = [
            f"spk{number // UTTERANCES_PER_SPEAKER:05d}-{set_name}-{number:07d}"
            for number in range(int(share * utterances))
        ]
        chosen = {name: entries[generator.integers(len(entries))] for name in names}
        counts = {n: 1 + int(WORDS_PER_SECOND * chosen[n][1] / 16_000) for n in names}
        drawn = iter(generator.choice(words, sum(counts.values()), p=chances).tolist())
        speakers = {name: name.split("-")[0] for name in names}
        tables = {
            "wav.scp": {name: value for name, (value, _) in chosen.items()},
            "utt2num_samples": {name: samples for name, (_, samples) in chosen.items()},
            "text": {name: " ".join(next(drawn) for _ in range(counts[name])) for name in names},
            "utt2spk": speakers,
            "spk2utt": invert(speakers),
        }
        for name, content in tables.items():
            write_table(folder / set_name / name, content)


def _recordings(folder: Path, generator) -> list[tuple[str, int]]:
    """Writes the archive; gives what wav.scp says of each entry, and its samples."""
    import kaldiio
    import numpy as np

    folder.mkdir()
    path, entries = folder / "audio.ark", []
    with path.open("wb") as stream:
        for number in range(DISTINCT_RECORDINGS):
            samples = int(16_000 * generator.uniform(1, 12))
            wave = np.sin(np.cumsum(generator.uniform(0.02, 0.4, samples // 1600 + 1).repeat(1600)))
            noisy = 3000 * wave[:samples] + 100 * generator.standard_normal(samples)
            entries.append((f"{path}:{stream.tell() + len(f'{number} ')}", samples))
            kaldiio.save_ark(
                stream,
                {str(number): (16_000, noisy.astype(np.int16))},
                write_function="soundfile",
                write_kwargs={"format": "flac", "subtype": "PCM_16"},
            )
    return entries


if __name__ == "__main__":
    main()
