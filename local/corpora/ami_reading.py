"""AMI's meetings as lhotse reads them, with all that it passes over.

lhotse's prepare_ami as a whole is not called, since it numbers the headsets of a meeting by those
that are there (with one missing, the others get their neighbour's words), and ends at the first
wav that is unreadable and where a set is empty. Its parts, called here, give the same utterances.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_local.cli import one_line
from local.corpora.ami_annotations import Root, clean_copy
from local.corpora.cutting import Segment
from local.corpora.lhotse_segments import segments_of
from local.corpora.utterance import Exclusion

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

MAX_WORDS_PER_SEGMENT = 30  # as icefall, which gives Kaldi's counts (lhotse's pull request 889)


class AmiReading:
    """What lhotse makes of some meetings, and what it leaves out.

    Args:
        mic: ihm or sdm.
        shown: the name of an audio file, with {} for the meeting and <n> for the headset.
        audio: the files by meeting and channel.
        annotations: of these meetings and others.
    """

    def __init__(
        self, mic: str, shown: str, audio: dict[str, dict[int, Path]], annotations: Root
    ) -> None:
        from lhotse.recipes.ami import parse_ami_annotations

        self._mic, self._shown = mic, shown
        self._exclusions: dict[str, list[Exclusion]] = defaultdict(list)
        self._recordings: dict[str, Recording] = {}
        for meeting, files in audio.items():
            self._add_recording(meeting, files)
        with tempfile.TemporaryDirectory(prefix="ami-annotations-") as folder:
            copy = Path(folder) / "annotations"
            for finding in clean_copy(annotations, copy, audio):
                self._exclude(finding.meeting, finding.id, finding.reason)
            segments = parse_ami_annotations(
                copy,
                normalize="kaldi",
                max_words_per_segment=MAX_WORDS_PER_SEGMENT,
                merge_consecutive=True,
            )
        # lhotse's order is that of a folder's listing, which differs between machines.
        self._annotations = dict(sorted(segments.items()))
        self._supervisions: dict[str, list[SupervisionSegment]] = defaultdict(list)
        self._add_supervisions()
        for meeting, files in audio.items() if mic == "ihm" else ():
            annotated = {key[2] for key in self._annotations if key[0] == meeting}
            for channel in sorted(files.keys() - annotated):
                self._exclude(meeting, files[channel].name, "no annotations of this headset")

    def items(self, meeting: str) -> Iterable[Segment | Exclusion]:
        """Utterances and exclusions of a meeting."""
        yield from self._exclusions[meeting]
        if meeting in self._recordings and self._supervisions[meeting]:
            recordings = {meeting: self._recordings[meeting]}
            yield from segments_of(recordings, self._supervisions[meeting], set())

    def _exclude(self, meeting: str, name: str, reason: str) -> None:
        self._exclusions[meeting].append(Exclusion(id=name, reason=reason))

    def _add_recording(self, meeting: str, files: dict[int, Path]) -> None:
        import soundfile
        from lhotse import Recording
        from lhotse.audio import AudioSource

        sources, infos = [], []
        for channel, path in sorted(files.items()):
            try:
                info = soundfile.info(str(path))
            except (OSError, RuntimeError) as error:
                reason = getattr(error, "error_string", one_line(error))
                self._exclude(meeting, path.name, f"not readable as audio: {reason}")
                continue
            if info.channels != 1:
                self._exclude(meeting, path.name, f"{info.channels} channels, expected 1")
                continue
            infos.append(info)
            sources.append(AudioSource(type="file", channels=[channel], source=str(path)))
        if not sources:
            return
        # All of a meeting are of one length; where some are cut short, each file is asked later.
        longest = max(infos, key=lambda info: info.duration)
        self._recordings[meeting] = Recording(
            id=meeting,
            sources=sources,
            sampling_rate=longest.samplerate,
            num_samples=longest.frames,
            duration=longest.duration,
        )

    def _add_supervisions(self) -> None:
        from lhotse import RecordingSet
        from lhotse.recipes.ami import prepare_supervision_ihm, prepare_supervision_other

        prepare = prepare_supervision_ihm if self._mic == "ihm" else prepare_supervision_other
        recordings = RecordingSet.from_recordings(self._recordings.values())
        made = set()
        for supervision in prepare(recordings, self._annotations):
            made.add(supervision.id)
            self._supervisions[supervision.recording_id].append(supervision)
        counts: dict[str, int] = defaultdict(int)
        for (meeting, _, channel), segments in self._annotations.items():
            prefix = f"{meeting}-{channel}" if self._mic == "ihm" else meeting
            for segment in segments:
                name = f"{prefix}-{counts[prefix]}"
                counts[prefix] += 1
                if name not in made:
                    reason = self._why_dropped(
                        meeting, channel, segment.start_time, segment.end_time
                    )
                    self._exclude(meeting, name, reason)

    def _why_dropped(self, meeting: str, channel: int, start_s: float, end_s: float) -> str:
        recording = self._recordings.get(meeting)
        if recording is None or (self._mic == "ihm" and channel not in recording.channel_ids):
            name = self._shown.format(meeting).replace("<n>", str(channel))
            return f"no readable {name}"
        if end_s > recording.duration:
            return f"segment ends at {end_s} s, its recording at {recording.duration:.2f} s"
        return f"segment ends at {end_s} s, starts at {start_s} s"
