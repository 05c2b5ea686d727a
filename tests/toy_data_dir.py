"""Kaldi data directories for tests of validation."""

import numpy as np
import soundfile

from espnet_local.files import read_table, write_table
from local.corpora.report import Report
from local.corpora.writer import invert
from local.validate_data import check_folder

SECONDS = {"s1-a": 0.5, "s1-b": 1.0, "s2-c": 0.75}
TEXT = "yes no"


def noise(seconds, rate=16_000):
    samples = np.random.default_rng(0).integers(-3000, 3000, int(seconds * rate))
    return samples.astype(np.int16)


def wav(folder, name, samples=None, rate=16_000):
    soundfile.write(folder / f"{name}.wav", noise(1.0) if samples is None else samples, rate)


def write_clean(folder):
    """A directory with nothing to say against, of wav files."""
    folder.mkdir(parents=True)
    for name, seconds in SECONDS.items():
        wav(folder, name, noise(seconds))
    write_table(folder / "wav.scp", {name: folder / f"{name}.wav" for name in SECONDS})
    write_table(folder / "text", dict.fromkeys(SECONDS, TEXT))
    write_table(folder / "utt2spk", {name: name[:2] for name in SECONDS})
    write_table(folder / "spk2utt", invert(read_table(folder / "utt2spk")))
    write_table(folder / "utt2num_samples", {n: int(s * 16_000) for n, s in SECONDS.items()})


def check(folder, nj=1, decode=False, tokenizer=None, expected=None):
    """What was found, as {check: messages}."""
    report = Report(folder=folder)
    check_folder(report, tokenizer=tokenizer, expected=expected, nj=nj, decode=decode)
    return {name: found.messages for name, found in report.found.items()}


def edit(folder, name, **values):
    """Changes lines of a table; None takes one away."""
    table = read_table(folder / name) | {key.replace("_", "-"): v for key, v in values.items()}
    write_table(folder / name, {key: value for key, value in table.items() if value is not None})


def append(folder, name, line):
    with (folder / name).open("ab") as stream:
        stream.write(line)
