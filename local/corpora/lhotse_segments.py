"""Utterances from lhotse's recordings and supervisions.

lhotse exports Kaldi directories too, but writes pipes through ffmpeg for whatever is not a mono
wav, which would then be needed on every machine that trains; this project's writer takes its place
and reads the audio with libsndfile. Ids, transcripts, speakers and times come out the same, but
for recordings of several channels, where lhotse appends the channel to the ids and makes an
utterance of each channel that a supervision names: here it is one, of the first.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from local.corpora.cutting import Segment
from local.corpora.utterance import Exclusion, LeftOut, TimedWord

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

log = logging.getLogger(__name__)
DURATION_TOLERANCE_S = 0.001  # lhotse's own, between a manifest and its audio
HARMLESS_TRANSFORMS = ("Resample",)  # audio is resampled here anyway


def segments_of(
    recordings: Mapping[str, Recording | None],
    supervisions: Iterable[SupervisionSegment],
    seen: set[str],
) -> Iterator[Segment | Exclusion]:
    """One segment or exclusion a supervision, then the recordings that none speaks of.

    Args:
        recordings: by id; None where several have it.
        supervisions: in any order; of two with one id, the first counts.
        seen: ids that are taken; gets those of these supervisions.
    """
    used: set[str] = set()
    notes: Counter[str] = Counter()
    for supervision in supervisions:
        used.add(str(supervision.recording_id))
        if fault := _fault(supervision):
            yield Exclusion(id=str(supervision.id).strip() or "''", reason=fault)
            continue
        utterance = "_".join(supervision.id.split())  # a space ends a key of a Kaldi table
        if utterance in seen:
            yield Exclusion(id=utterance, reason="duplicate id")
            continue
        seen.add(utterance)
        try:
            yield _segment(utterance, supervision, recordings, notes)
        except LeftOut as left:
            yield Exclusion(id=utterance, reason=str(left))
    for name in recordings.keys() - used:
        yield Exclusion(id=name, reason="recording without supervision")
    for note, count in notes.items():
        log.warning("%d utterances %s", count, note)


def _fault(supervision: SupervisionSegment) -> str | None:
    """What is of the wrong type: lhotse checks none."""
    for name in ("id", "recording_id", "text", "speaker"):
        value = getattr(supervision, name)
        if not isinstance(value, str) and (value is not None or name in ("id", "recording_id")):
            return f"{name} must be a string, got {value!r}"
    if not supervision.id.strip():
        return "empty id"
    for name in ("start", "duration"):
        value = getattr(supervision, name)
        if not isinstance(value, (int, float)):
            return f"{name} must be a number, got {value!r}"
    channel = supervision.channel
    channels = channel if isinstance(channel, list) else [channel]
    if not channels or not all(isinstance(each, int) for each in channels):
        return f"channel must be a number or several, got {channel!r}"
    return None


def _segment(
    utterance: str,
    supervision: SupervisionSegment,
    recordings: Mapping[str, Recording | None],
    notes: Counter[str],
) -> Segment:
    name = supervision.recording_id
    recording = recordings.get(name)
    if recording is None:
        count = "several recordings" if name in recordings else "no recording"
        raise LeftOut(f"{count} {name} in the manifest")
    if not (supervision.text or "").strip():
        raise LeftOut("empty transcript")
    audio, channel = _audio(recording, supervision, notes)
    speaker = (supervision.speaker or "").strip()
    if not speaker:
        speaker = name
        notes["have no speaker: their recording stands for it"] += 1
    end_s = supervision.start + supervision.duration
    whole = supervision.start == 0 and abs(end_s - recording.duration) <= DURATION_TOLERANCE_S
    return Segment(
        id=utterance,
        speaker="_".join(speaker.split()),
        text=supervision.text,
        audio=audio,
        start_s=supervision.start,
        end_s=None if whole else end_s,
        channel=channel,
        words=timed_words(supervision),
        stated_s=recording.duration if whole else None,
        stated_rate=recording.sampling_rate if whole and not recording.transforms else None,
    )


def _audio(
    recording: Recording, supervision: SupervisionSegment, notes: Counter[str]
) -> tuple[str, int | None]:
    """The file and its channel that a supervision is about."""
    for transform in recording.transforms or ():
        kind = transform["name"] if isinstance(transform, dict) else type(transform).__name__
        if kind not in HARMLESS_TRANSFORMS:
            raise LeftOut(f"recording {recording.id} is to be transformed by {kind}")
    channel = supervision.channel
    if isinstance(channel, list):
        if len(channel) > 1:
            notes["are heard on several channels: the first is taken"] += 1
        channel = min(channel)
    for source in recording.sources:
        if channel not in source.channels:
            continue
        if source.type != "file":
            raise LeftOut(f"audio is a {source.type}, only files are read")
        only = len(source.channels) == 1
        return str(source.source), None if only else source.channels.index(channel)
    raise LeftOut(f"no channel {channel} in recording {recording.id}")


def timed_words(supervision: SupervisionSegment) -> tuple[TimedWord, ...] | None:
    """The word times of a supervision, from its start; None where it has none.

    Where one time covers several words, they share it in proportion to their letters.
    """
    words: list[TimedWord] = []
    for item in (supervision.alignment or {}).get("word", ()):
        symbols = item.symbol.split()
        letters = sum(map(len, symbols))
        start_s = max(0.0, item.start - supervision.start)
        for symbol in symbols:
            duration_s = item.duration * len(symbol) / letters
            words.append(TimedWord(word=symbol, start_s=start_s, duration_s=duration_s))
            start_s += duration_s
    return tuple(words) or None
