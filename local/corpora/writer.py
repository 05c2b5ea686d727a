"""The one writer of Kaldi data directories: audio, transcripts, speakers, word times, exclusions.

    wav.scp          <utterance> <file>, or <archive>:<offset>
    text             <utterance> <words>
    utt2spk spk2utt  <utterance> <speaker>, and the inverse
    utt2num_samples  <utterance> <samples at 16 kHz>
    words.ctm        <utterance> 1 <start s> <duration s> <word>, where word times are known
    excluded.tsv     <utterance> TAB <reason>, with a head line

Audio is 16-bit at 16 kHz: FLAC inside one kaldiio archive (a training run opens one file instead
of thousands), or one wav or flac file an utterance.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

import kaldiio
import numpy as np
import soundfile

from espnet_local.config import SAMPLE_RATE
from espnet_local.files import atomic_open, write_table
from local.corpora.utterance import (
    Exclusion,
    Utterance,
    kind_of_reason,
    reason_against_duration,
)

AudioFormat = Literal["flac.ark", "wav", "flac"]
AUDIO_FORMATS: tuple[str, ...] = get_args(AudioFormat)
PROGRESS_UTTERANCES = 200
LISTED_REASONS = 3
MAX_NAME_BYTES = 255  # of a file, on the usual file systems


@dataclass(kw_only=True)
class SetSummary:
    """What was written into one set."""

    utterances: int = 0
    excluded: int = 0
    samples: int = 0
    speakers: set[str] = field(default_factory=set)

    @property
    def hours(self) -> float:
        """Length of the audio in hours."""
        return self.samples / SAMPLE_RATE / 3600

    def line(self, name: str) -> str:
        """One line for a reader: `mini/train: 3000 utterances, 4.2 h, 19 speakers, excluded 0`."""
        hours = f"{self.hours:.1f} h" if self.hours >= 1 else f"{self.hours * 60:.1f} min"
        return (
            f"{name}: {self.utterances} utterances, {hours}, {len(self.speakers)} speakers, "
            f"excluded {self.excluded}"
        )


class _AudioSink(Protocol):
    def write(self, utterance_id: str, pcm: np.ndarray) -> str:
        """Stores int16 samples (N,) and returns the value of their line in wav.scp."""


class _Archive:
    """FLAC in one kaldiio archive."""

    def __init__(self, folder: Path, shown_as: Path) -> None:
        self._stream = (folder / "audio.ark").open("wb")
        self._shown_as = shown_as / "audio.ark"

    def write(self, utterance_id: str, pcm: np.ndarray) -> str:
        offset = self._stream.tell() + len(f"{utterance_id} ".encode())
        kaldiio.save_ark(
            self._stream,
            {utterance_id: (SAMPLE_RATE, pcm)},
            write_function="soundfile",
            write_kwargs={"format": "flac", "subtype": "PCM_16"},
        )
        return f"{self._shown_as}:{offset}"

    def close(self) -> None:
        self._stream.close()


class _Files:
    """One file an utterance."""

    def __init__(self, folder: Path, shown_as: Path, suffix: str) -> None:
        self._folder, self._shown_as, self._suffix = folder / "audio", shown_as / "audio", suffix
        self._folder.mkdir()

    def write(self, utterance_id: str, pcm: np.ndarray) -> str:
        name = f"{utterance_id}.{self._suffix}"
        soundfile.write(self._folder / name, pcm, SAMPLE_RATE, subtype="PCM_16")
        return str(self._shown_as / name)


@contextmanager
def _audio_sink(folder: Path, shown_as: Path, audio_format: str) -> Iterator[_AudioSink]:
    if audio_format == "flac.ark":
        archive = _Archive(folder, shown_as)
        try:
            yield archive
        finally:
            archive.close()
    else:
        yield _Files(folder, shown_as, audio_format)


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] to int16, (N,) -> (N,); exact for samples that were 16-bit before.

    What lies outside the range (resampling overshoots a little at full scale) goes to its edge,
    as in every 16-bit writer.
    """
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def _reason_against(utterance: Utterance, audio_format: str) -> str | None:
    """Why an utterance cannot be in a set, or None when it can."""
    if audio_format != "flac.ark":
        name = f"{utterance.id}.{audio_format}"
        if "/" in name:
            return f"id {utterance.id!r} cannot name a file; use --audio_format flac.ark"
        if (length := len(name.encode())) > MAX_NAME_BYTES:
            return f"id cannot name a file ({length} bytes); use --audio_format flac.ark"
    if not utterance.text.strip():
        return "empty transcript"
    if len(utterance.samples) == 0:
        return "empty audio"
    return reason_against_duration(utterance.duration_s)


def write_set(
    folder: Path,
    shown_as: Path,
    items: Iterable[Utterance | Exclusion],
    *,
    audio_format: str,
    name: str,
    total: int,
) -> SetSummary:
    """Writes one set.

    Args:
        folder: an empty or missing folder to write into.
        shown_as: the folder's final name, which goes into wav.scp.
        items: utterances and exclusions; an utterance too short, too long or without a
            transcript becomes an exclusion.
        audio_format: one of AUDIO_FORMATS.
        name: for messages, such as "mini train".
        total: how many items to expect, for the progress lines.

    Raises:
        ValueError: when an utterance id comes twice, nothing is left, or wav.scp could not hold
            the folder's name.
    """
    try:
        str(shown_as).encode()
    except UnicodeEncodeError:
        raise ValueError(f"output {str(shown_as)!a} is not UTF-8, wav.scp must be") from None
    folder.mkdir(parents=True, exist_ok=True)
    summary = SetSummary()
    scp, texts, speakers, lengths = {}, {}, {}, {}
    ctm: list[str] = []
    excluded: list[Exclusion] = []
    with _audio_sink(folder, shown_as, audio_format) as sink:
        for count, item in enumerate(items, 1):
            if count % PROGRESS_UTTERANCES == 0:
                _progress(f"{name} {count}/{total} utterances")
            if isinstance(item, Utterance) and (reason := _reason_against(item, audio_format)):
                item = Exclusion(id=item.id, reason=reason)
            if isinstance(item, Exclusion):
                excluded.append(item)
                continue
            if item.id in scp:
                raise ValueError(f"{name}: utterance {item.id!r} comes twice")
            scp[item.id] = sink.write(item.id, to_pcm(item.samples))
            texts[item.id] = " ".join(item.text.split())
            speakers[item.id] = item.speaker
            lengths[item.id] = len(item.samples)
            for word in item.words or ():
                ctm.append(f"{item.id} 1 {word.start_s:.3f} {word.duration_s:.3f} {word.word}")
    _write_lines(
        folder / "excluded.tsv",
        ["utterance\treason", *sorted(item.line() for item in excluded)],
    )
    if not excluded and not scp:
        raise ValueError(f"{name}: the corpus has no utterance for this set")
    if not scp:
        raise ValueError(
            f"{name}: no utterance is left of {len(excluded)} (mend them or take them out of the "
            f"corpus: {_commonest(excluded)}); see {folder / 'excluded.tsv'}"
        )
    for table_name, table in (
        ("wav.scp", scp),
        ("text", texts),
        ("utt2spk", speakers),
        ("spk2utt", invert(speakers)),
        ("utt2num_samples", lengths),
    ):
        write_table(folder / table_name, table)
    if ctm:
        _write_lines(folder / "words.ctm", _sorted_ctm(ctm))
    summary.utterances, summary.excluded = len(scp), len(excluded)
    summary.samples, summary.speakers = sum(lengths.values()), set(speakers.values())
    return summary


def _commonest(excluded: list[Exclusion]) -> str:
    """The reasons with how often each occurs, commonest first.

    Such as `u1: no such file a.wav, 9 times`.
    """
    alike: dict[str, list[Exclusion]] = defaultdict(list)
    for item in excluded:
        alike[kind_of_reason(item.reason)].append(item)
    groups = sorted(alike.values(), key=len, reverse=True)
    shown = [
        f"{group[0].id}: {group[0].reason}, {len(group)} time{'s' * (len(group) > 1)}"
        for group in groups[:LISTED_REASONS]
    ]
    more = len(groups) - len(shown)
    return "; ".join(shown + [f"and {more} other reasons"] * (more > 0))


def invert(utt2spk: dict[str, str]) -> dict[str, str]:
    """spk2utt from utt2spk: speaker to its utterances, sorted, separated by spaces."""
    utterances = defaultdict(list)
    for utterance, speaker in sorted(utt2spk.items()):
        utterances[speaker].append(utterance)
    return {speaker: " ".join(ids) for speaker, ids in utterances.items()}


def _sorted_ctm(lines: list[str]) -> list[str]:
    """By utterance, then by the order of the words, in which the lines came."""
    return sorted(lines, key=lambda line: line.split(" ", 1)[0])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with atomic_open(path) as stream:
        stream.writelines(line + "\n" for line in lines)


def _progress(message: str) -> None:
    """Progress lines are found by their prefix in the log of a job."""
    print(f"progress: {message}", file=sys.stderr, flush=True)
