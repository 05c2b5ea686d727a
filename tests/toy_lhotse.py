"""lhotse manifests, written with lhotse, of short noisy recordings; with defects planted."""

import gzip
import json
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

from local.corpora.__main__ import main
from local.corpora.utterance import SETS
from local.corpora.validate import validate

RATE = 16_000
WORDS = ("one", "two", "three", "four", "five", "six", "seven")


def noise(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """Noise whose level follows a slow wave, shape (N,), different for every seed."""
    count = round(seconds * rate)
    rng = np.random.default_rng(seed)
    level = 0.05 + 0.2 * np.abs(np.sin(np.arange(count) * 2 * np.pi * 3 / rate))
    return (level * rng.uniform(-1, 1, count)).astype(np.float32)


def excluded(folder: Path) -> dict[str, str]:
    """What a prepared set lists as excluded: ids with reasons."""
    lines = (folder / "excluded.tsv").read_text().splitlines()[1:]
    return dict(line.split("\t") for line in lines)


def supervision(name: str, recording: str, start: float, text: str | None, **more):
    """A supervision of evenly spaced words, each of 0.4 s, with their times."""
    words = (text or "").split()
    fields = {
        "duration": max(0.4 * len(words), 0.4),
        "speaker": f"spk{sum(map(ord, recording)) % 3}",
        "alignment": {
            "word": [
                AlignmentItem(symbol=word, start=round(start + 0.4 * i, 4), duration=0.4)
                for i, word in enumerate(words)
            ]
        },
        **more,
    }
    return SupervisionSegment(id=name, recording_id=recording, start=start, text=text, **fields)


def write_lines(folder: Path, part: str, recordings: list[dict], supervisions: list[dict]) -> None:
    """Manifests of bare lines, which may be what lhotse would never write."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, lines in (("recordings", recordings), ("supervisions", supervisions)):
        with gzip.open(folder / f"toy_{kind}_{part}.jsonl.gz", "wt") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)


def recording_line(name: str, path: Path, seconds: float = 2.0) -> dict:
    """The line of a mono recording."""
    source = {"type": "file", "channels": [0], "source": str(path)}
    return {"id": name, "sources": [source], "sampling_rate": RATE,
            "num_samples": round(seconds * RATE), "duration": seconds}  # fmt: skip


def supervision_line(name: object, recording: str, **more) -> dict:
    """The line of a supervision of 2 s."""
    return {"id": name, "recording_id": recording, "start": 0.0, "duration": 2.0, "channel": 0,
            "text": f"text of {name}", "speaker": "s", **more}  # fmt: skip


def make_lhotse(
    root: Path,
    sizes: tuple[int, int, int] = (12, 4, 4),
    parts: tuple[str, str, str] = ("train", "dev", "test"),
    prefix: str = "toy",
    channels: int = 2,
    defects: bool = True,
) -> Path:
    """Writes audio and manifests under `root` and returns the folder of manifests.

    Recordings have two channels in one file (flac) or one each in two files (wav), or are mono;
    every one has two utterances, of its first and its last channel. Defects stand in train.
    """
    manifests = root / "manifests"
    (root / "audio").mkdir(parents=True)
    manifests.mkdir()
    for order, (part, size) in enumerate(zip(parts, sizes)):
        recordings, supervisions = [], []
        for number in range((size + 1) // 2):
            name = f"{part}-r{number}"
            sides = [noise(3.0, 1000 * order + 2 * number + c) for c in range(channels)]
            recordings.append(_recording(root / "audio", name, sides, number))
            for side in (0, 1):
                if 2 * number + side < size:
                    text = " ".join(WORDS[(number + side + k) % len(WORDS)] for k in range(3))
                    where = {"channel": min(side, channels - 1), "speaker": f"{part}-{side}"}
                    supervisions.append(
                        supervision(f"{name}-{side}", name, 0.5 + side, text, **where)
                    )
        if defects and order == 0:
            more_recordings, more_supervisions = _defects(root / "audio")
            recordings += more_recordings
            supervisions += more_supervisions
        RecordingSet.from_recordings(recordings).to_file(
            manifests / f"{prefix}_recordings_{part}.jsonl.gz"
        )
        SupervisionSet.from_segments(supervisions).to_file(
            manifests / f"{prefix}_supervisions_{part}.jsonl.gz"
        )
    return manifests


def _recording(folder: Path, name: str, sides: list[np.ndarray], number: int) -> Recording:
    if number % 2:
        paths = [folder / f"{name}.{channel}.wav" for channel in range(len(sides))]
        for path, side in zip(paths, sides):
            soundfile.write(path, side, RATE)
        sources = [
            AudioSource(type="file", channels=[i], source=str(path)) for i, path in enumerate(paths)
        ]
    else:
        path = folder / f"{name}.flac"
        soundfile.write(path, np.stack(sides, axis=1), RATE)
        sources = [AudioSource(type="file", channels=list(range(len(sides))), source=str(path))]
    length = len(sides[0])
    return Recording(
        id=name, sources=sources, sampling_rate=RATE, num_samples=length, duration=length / RATE
    )


def _file_recording(path: Path, seconds: float, seed: int) -> Recording:
    soundfile.write(path, noise(seconds, seed), RATE)
    return Recording.from_file(path, recording_id=path.stem)


DEFECTS = {
    "bad-gone": "no such file {audio}/gone.wav",
    "bad-unreadable": "{audio}/unreadable.wav: not readable as audio: Format not recognised.",
    "bad-orphan": "no recording nowhere in the manifest",
    "bad-command": "audio is a command, only files are read",
    "bad-channel": "no channel 7 in recording good",
    "bad-speed": "recording fast is to be transformed by Speed",
    "bad-empty": "empty transcript",
    "bad-untold": "empty transcript",
    "bad-late": "segment ends at 9.4 s, its recording at 2.00 s",
    "good-whole": "duplicate id",
    "unheard": "recording without supervision",
}


def _defects(folder: Path) -> tuple[list[Recording], list[SupervisionSegment]]:
    good = _file_recording(folder / "good.wav", 2.0, 77)
    gone = _file_recording(folder / "gone.wav", 2.0, 78)
    unreadable = _file_recording(folder / "unreadable.wav", 2.0, 79)
    unheard = _file_recording(folder / "unheard.wav", 1.0, 80)
    (folder / "gone.wav").unlink()
    (folder / "unreadable.wav").write_text("no audio at all")
    command = Recording(
        id="command",
        sources=[AudioSource(type="command", channels=[0], source="touch executed")],
        sampling_rate=RATE,
        num_samples=RATE,
        duration=1.0,
    )
    fast = good.perturb_speed(1.1, affix_id=False)
    fast.id = "fast"
    supervisions = [
        supervision("good-whole", "good", 0.0, "one two three four five", duration=2.0),
        supervision("good-whole", "good", 0.0, "said twice"),
        supervision("good nameless", "good", 0.5, "MM HMM", speaker=None, alignment={
            "word": [AlignmentItem(symbol="MM HMM", start=0.5, duration=0.5)]
        }),
        supervision("bad-gone", "gone", 0.0, "one"),
        supervision("bad-unreadable", "unreadable", 0.0, "one"),
        supervision("bad-orphan", "nowhere", 0.0, "one"),
        supervision("bad-command", "command", 0.0, "one"),
        supervision("bad-channel", "good", 0.0, "one", channel=7),
        supervision("bad-speed", "fast", 0.0, "one"),
        supervision("bad-empty", "good", 0.0, "  "),
        supervision("bad-untold", "good", 0.0, None),
        supervision("bad-late", "good", 9.0, "one"),
    ]  # fmt: skip
    return [good, gone, unreadable, unheard, command, fast], supervisions


def prepare(tmp_path, corpus, *more):
    out = tmp_path / "out"
    main(["--corpus", f"lhotse:{corpus}", "--output", str(out), *map(str, more)])
    for name in SETS:
        assert validate(out / name).problems == []
    return out
