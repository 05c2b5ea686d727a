"""A small corpus as NeMo's and Hugging Face's users have it, with a defect of each kind.

The good rows are the same in every form; the sounds are noise, an own level to each word.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from local.corpora.__main__ import main
from local.corpora.utterance import SETS
from local.corpora.validate import validate

WORDS = ("one", "two", "three", "four", "five")
COUNTS = {"train": 12, "dev": 4, "test": 4}


def sound(words: list[str], rate: int = 16_000) -> np.ndarray:
    """0.4 s a word, (N,) float32."""
    generator = np.random.default_rng([WORDS.index(word) for word in words])
    samples = round(0.4 * rate)
    parts = [
        (0.04 + 0.05 * WORDS.index(word)) * generator.standard_normal(samples).clip(-3, 3)
        for word in words
    ]
    return np.concatenate(parts).astype(np.float32)


def write_sounds(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Writes wav files of several rates into `clips/`, and gives the rows of each set."""
    (folder / "clips").mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {}
    for set_name, count in COUNTS.items():
        rows[set_name] = []
        for number in range(count):
            words = [str(word) for word in generator.choice(WORDS, generator.integers(3, 8))]
            rate = (16_000, 8_000, 44_100)[number % 3]
            path = f"clips/{set_name}{number:02d}.wav"
            samples = sound(words, rate)
            soundfile.write(folder / path, samples, rate)
            rows[set_name].append(
                {
                    "path": path,
                    "text": " ".join(words),
                    "seconds": round(len(samples) / rate, 4),
                    "speaker": f"{set_name}-{'ab'[number % 2]}",
                }
            )
    return rows


def write_nemo(folder: Path) -> Path:
    """`train_manifest.json`, `dev_manifest.json`, `test_manifest.json`, defects in train."""
    for set_name, rows in write_sounds(folder).items():
        lines = [
            {
                "audio_filepath": row["path"],
                "duration": row["seconds"],
                "text": row["text"],
                "speaker": row["speaker"],
            }
            for row in rows
        ]
        texts = [json.dumps(line) for line in lines]
        if set_name == "train":
            first = lines[0]
            texts += [
                json.dumps({**first, "offset": 0.4, "duration": 0.8, "text": "a piece"}),
                json.dumps(first),
                json.dumps({**first, "audio_filepath": "clips/gone.wav"}),
                json.dumps({**first, "text": ""}),
                json.dumps({**first, "offset": -1.5}),
                json.dumps({**first, "offset": 99.0}),
                '{"audio_filepath": "clips/cut',
                json.dumps({"duration": 1.0, "text": "nothing to hear"}),
            ]
        (folder / f"{set_name}_manifest.json").write_text("\n".join(texts) + "\n")
    return folder


def write_table(path: Path, split: bool = True) -> Path:
    """A CSV or TSV, by the suffix, in Hugging Face's names; with a column `split` or without."""
    names = ["id", "path", "sentence", "client_id"] + ["split"] * split
    rows = []
    called = {"train": "train", "dev": "validation", "test": "test"}
    for set_name, found in write_sounds(path.parent).items():
        for number, row in enumerate(found):
            rows.append(
                [f"{set_name}/{number}", row["path"], row["text"], row["speaker"], called[set_name]]
            )
    first = rows[0]
    rows += [
        ["train/0", first[1], "a duplicate", "x", "train"],
        ["gone", "clips/gone.wav", "one two", "x", "train"],
        ["silent", first[1], "", "x", "validation"],
        ["other", first[1], "one two", "x", "invalidated"],
        ["short", first[1]],
    ]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(names)
        writer.writerows(row[: len(names)] for row in rows)
    return path


def write_rows(folder: Path, *rows: dict[str, Any], name: str = "all.jsonl") -> Path:
    """Writes rows as JSON lines, with a second of sound for each file that they name."""
    for row in rows:
        path = folder / (row.get("path") or row.get("file"))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound(["one", "two", "three"]), 16_000)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def prepare(manifest: Path, out: Path, *more: str) -> Path:
    """Prepares a manifest; every set is valid."""
    main(["--corpus", f"manifest:{manifest}", "--output", str(out), *more])
    for name in SETS:
        assert validate(out / name).problems == []
    return out


def excluded(folder: Path) -> dict[str, str]:
    """What a set lists as excluded: ids with reasons."""
    lines = (folder / "excluded.tsv").read_text().splitlines()[1:]
    return dict(line.split("\t") for line in lines)


def write_sounds_of(folder: Path, count: int) -> None:
    """`0.wav`, `1.wav`, ..., a word each."""
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", sound(["one"]), 16_000)
