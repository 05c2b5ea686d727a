"""A Common Voice release: TSVs and MP3 clips, as a folder or as the tar one downloads."""

import hashlib
import tarfile
from pathlib import Path

import soundfile
from toy_lhotse import noise

from local.corpora.__main__ import main
from local.corpora.utterance import SETS
from local.corpora.validate import validate

RATE = 32_000  # of the clips
RELEASE = "cv-corpus-13.0-2023-03-09"
# Columns by release; lhotse's recipe reads only the newer ones.
OLD = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent"]
NEW = [*OLD[:-1], "accents", "variant", "locale", "segment"]
TEXTS = {
    "et": ("Tere hommikust!", "Õhtu on käes.", "Žürii “otsus” tuli – täna", "Ära jää hiljaks",
           "Kas sa tuled?", "Üks, kaks ja kolm"),
    "en": ("Good morning!", "It’s late.", "The “jury” came - today", "Don't be late",
           "Are you coming?", "One, two and three"),
}  # fmt: skip


def client(name: str) -> str:
    return hashlib.sha512(name.encode()).hexdigest()


def make_commonvoice(
    root: Path,
    language: str = "et",
    sizes: tuple[int, int, int] = (12, 4, 4),
    columns: list[str] = NEW,
    defects: bool = True,
) -> Path:
    """Writes <root>/<release>/<language> and returns that folder.

    validated.tsv holds train, dev and test, and three clips more: one of its own, one of a speaker
    of dev, one with a sentence of test. Defects stand in train.
    """
    folder = root / RELEASE / language
    (folder / "clips").mkdir(parents=True)
    texts = TEXTS.get(language, TEXTS["en"])
    number = 0
    rows: dict[str, list[dict[str, str]]] = {}

    def row(speaker: str, sentence: str, clip: str | None = None) -> dict[str, str]:
        nonlocal number
        number += 1
        name = clip or f"common_voice_{language}_{17_000_000 + number}.mp3"
        seconds = 1.0 + 0.1 * (number % 10)
        soundfile.write(folder / "clips" / name, noise(seconds, number, RATE), RATE)
        return {
            "client_id": client(speaker), "path": name, "sentence": sentence, "locale": language,
            "up_votes": "2", "down_votes": "0",
        }  # fmt: skip

    for set_name, size in zip(("train", "dev", "test"), sizes):
        # Sentences differ between sets, as they do in a release.
        word = {"train": "", "dev": "Ja ", "test": "Aga "}[set_name]
        rows[set_name] = [
            row(f"{set_name}{k % 3}", word + texts[k % len(texts)]) for k in range(size)
        ]
    more = [
        row("new", texts[0]),
        row("dev0", texts[1]),
        row("newer", " " + rows["test"][0]["sentence"].upper()),
    ]
    if defects:
        rows["train"] += _defects(folder, row, rows["train"][0])
    rows["validated"] = [*rows["train"], *rows["dev"], *rows["test"], *more]
    rows["other"] = [row("other", "Unheard")]
    for name, lines in rows.items():
        write_table(folder / f"{name}.tsv", columns, lines)
    return folder


def write_table(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    lines = ["\t".join(columns), *("\t".join(row.get(c, "") for c in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


DEFECTS = {
    "gone": "no such file {clips}/gone.mp3",
    "unreadable": "{clips}/unreadable.mp3: not readable as audio: Format not recognised.",
    "zero": "{clips}/zero.mp3: empty file",
    "foreign": "character 'щ' (U+0449) outside the alphabet",
    "digits": "character '3' (U+0033) outside the alphabet",
    "nothing": "empty transcript",
    "marks": "empty transcript",
    "nobody": "no client_id",
    "outside": "line {outside}: path must be a file's name, got '../outside.mp3'",
    "{first}": "a second row of this id, at line {again}",
}


def _defects(folder: Path, row, first: dict[str, str]) -> list[dict[str, str]]:
    rows = [
        row("train0", "Hea", f"{name}.mp3") for name in ("gone", "unreadable", "zero", "nobody")
    ]
    (folder / "clips/gone.mp3").unlink()
    (folder / "clips/unreadable.mp3").write_text("not an MP3 " * 50)
    (folder / "clips/zero.mp3").write_bytes(b"")
    rows[3]["client_id"] = ""
    rows += [
        row("train1", "Suur щ täht", "foreign.mp3"),
        row("train1", "Kell 3", "digits.mp3"),
        row("train1", "", "nothing.mp3"),
        row("train1", "?!", "marks.mp3"),
        {**first, "path": "../outside.mp3"},
        {**first, "sentence": "Teine tekst"},
    ]
    return rows


def excluded_of(folder: Path) -> dict[str, str]:
    """The exclusions of train that the defects of `make_commonvoice` in a folder give."""
    lines = (folder / "train.tsv").read_text(encoding="utf-8").splitlines()
    names = {
        "clips": str(folder / "clips"),
        "first": Path(lines[1].split("\t")[1]).stem,
        "outside": str(len(lines) - 1),
        "again": str(len(lines)),
    }
    return {key.format(**names): reason.format(**names) for key, reason in DEFECTS.items()}


def pack(folder: Path, path: Path) -> Path:
    """The tar (gzipped by its suffix) of a folder that `make_commonvoice` made: clips first."""
    mode = "w" if path.suffix == ".tar" else "w:gz"
    with tarfile.open(path, mode) as archive:
        release = folder.parent
        for file in sorted(folder.rglob("*")):
            archive.add(file, str(file.relative_to(release.parent)), recursive=False)
    return path


def prepare(tmp_path, source, *more, language="et"):
    """Prepares a release, checks the sets and returns their folder."""
    out = tmp_path / "out"
    call = ["--corpus", "commonvoice", "--corpus_dir", str(source), "--lang", language]
    main([*call, "--output", str(out), *more])
    for name in SETS:
        assert validate(out / name).problems == []
    return out
