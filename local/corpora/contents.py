"""Checks of what a data directory holds: characters, tokens, and audio by its headers or whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from espnet_local.audio import AudioInfo, audio_info
from espnet_local.cli import one_line
from espnet_local.config import SAMPLE_RATE
from espnet_local.tokens import Tokenizer
from local.corpora.cutting import OVERSHOOT_S
from local.corpora.report import Report
from local.corpora.utterance import MIN_DURATION_S, reason_against_duration
from local.corpora.validate import Piece, Recording, Transcript
from local.corpora.workers import batches
from local.tokens import TEXTS_PER_BATCH, reason_against_tokens

ROUNDING_SAMPLES = 2  # by which programs differ when they cut a segment


class Finding(NamedTuple):
    """One thing that a check found, as `Report.add` takes it."""

    check: str
    key: str
    message: str


class Outcome(NamedTuple):
    """What the audio of some recordings showed."""

    findings: list[Finding]
    recordings: int
    seconds: float  # of utterances


def check_characters(
    report: Report, transcripts: Iterable[Transcript], expected: set[str] | None, seen: set[str]
) -> Iterator[Transcript]:
    """Passes utterances on, and notes their characters.

    Args:
        report: takes in those outside `expected`.
        transcripts: of a directory.
        expected: characters; None expects all.
        seen: gets all characters but white space.
    """
    for item in transcripts:
        here = set(item.text)
        seen |= here
        if expected is not None and (strange := sorted(c for c in here - expected if c.strip())):
            for character in strange:
                report.add_character(character, item.text.count(character), item.utterance)
            listed = " ".join(strange)
            message = f"text: {item.utterance}: unexpected {listed}"
            report.add("unexpected character", item.utterance, message)
        yield item


def count_tokens(
    tokenizer: Tokenizer, transcripts: Iterable[Transcript]
) -> Iterator[tuple[Transcript, int]]:
    """Each utterance with its number of tokens."""
    for batch in batches(transcripts, TEXTS_PER_BATCH):
        for item, ids in zip(batch, tokenizer.encode_all([item.text for item in batch])):
            yield item, len(ids)


def check_audio(recordings: Sequence[Recording], decode: bool) -> list[Outcome]:
    """Opens the audio of recordings and holds it against their utterances.

    Args:
        recordings: of a directory.
        decode: decode all of the audio; otherwise read headers and ends.

    Returns:
        One outcome, as `ordered_map` wants a list.
    """
    findings: list[Finding] = []
    seconds = 0.0
    for recording in recordings:
        found = _info(recording.value, decode)
        for piece in recording.pieces:
            name = piece.utterance
            if isinstance(found, AudioInfo):
                samples = _samples(piece, found)
                seconds += samples / found.sample_rate
                reasons = list(_reasons(piece, found, samples))
            else:
                reasons = [found]
            findings += (Finding(check, name, f"{name}: {reason}") for check, reason in reasons)
    return [Outcome(findings, len(recordings), seconds)]


def _info(value: str, decode: bool) -> AudioInfo | tuple[str, str]:
    """What the header says, or a check with the reason why there is none."""
    if not value:
        return "no audio", "wav.scp names no file"
    if "|" in (value[0], value[-1]):
        return "no audio", "pipes are not run, write the audio to files first"
    try:
        return audio_info(value, decode)
    except (FileNotFoundError, IsADirectoryError) as error:
        return "no audio", one_line(error)
    except (ValueError, OSError) as error:
        return "unreadable", one_line(error)


def _samples(piece: Piece, info: AudioInfo) -> int:
    """Samples of an utterance, at the rate of its recording."""
    start, end = (
        info.frames if time_s is None else round(min(time_s * info.sample_rate, info.frames))
        for time_s in (piece.start_s, piece.end_s)
    )
    return max(0, end - start)


def _reasons(piece: Piece, info: AudioInfo, samples: int) -> Iterator[tuple[str, str]]:
    """What is against an utterance: check and reason."""
    rate = info.sample_rate
    if info.channels != 1:
        yield "channels", f"{info.channels} channels, expected 1"
    if rate != SAMPLE_RATE:
        yield "sample rate", f"{rate} Hz, expected {SAMPLE_RATE} Hz"
    length_s = info.frames / rate
    if (piece.end_s or 0) > length_s + OVERSHOOT_S or piece.start_s >= length_s:
        place = f"{piece.start_s} to {'its end' if piece.end_s is None else piece.end_s} s"
        yield "beyond recording", f"segment is {place}, its recording ends at {length_s:.2f} s"
        return
    if piece.samples is not None:
        is_whole = piece.start_s == 0 and piece.end_s is None
        if abs(samples - piece.samples) > (0 if is_whole else ROUNDING_SAMPLES):
            has = f"the audio has {samples} at {rate} Hz"
            yield "length differs", f"utt2num_samples says {piece.samples} samples, {has}"
    if reason := reason_against_duration(samples / rate):
        yield ("too short" if samples / rate < MIN_DURATION_S else "too long"), reason
    if piece.tokens is not None:
        at_16_khz = round(samples * SAMPLE_RATE / rate)
        if reason := reason_against_tokens(piece.tokens, at_16_khz):
            yield "more tokens than frames", reason
