"""A small AMI corpus: headsets, a distant microphone and NXT XML annotations, as they come.

Meetings of the partition full-corpus-asr: two for train, one each for dev and test. Headset c of
meeting m has the samples `noise(<length>, 10 * m + c)`, so that a test can find a piece again.
"""

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import soundfile
from toy_lhotse import excluded, noise

from local.corpora.__main__ import main
from local.corpora.utterance import SETS
from local.corpora.validate import validate

RATE = 16_000
MEETINGS = {"train": ("ES2002a", "EN2001a"), "dev": ("ES2011a",), "test": ("ES2004a",)}
LETTERS = "ABCD"
NITE = 'xmlns:nite="http://nite.sourceforge.net/"'
HEAD = '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>\n'
# What a segment says; `.` ends a sentence, so that the second becomes two utterances.
SENTENCES = (
    ("Okay",),
    ("Hi", ",", "I'm", "David", ".", "That's", "a", "T_V_", "remote"),
    ("Mm-hmm", "."),
    ("Um", ",", "the", "cafe", "is", "gr", "great", "?"),
)
TEXTS = ("OKAY", "HI I'M DAVID", "THAT'S A T V REMOTE", "MM-HMM", "UM THE CAFE IS GR GREAT")
WORD_S = 0.5
SPACING_S = 5.0  # between the beginnings of segments
LENGTH_S = 30.0  # of a recording of one round


class Speaker:
    """The words and segments of one speaker of a meeting, under construction."""

    def __init__(self, meeting: str, letter: str) -> None:
        self.name = f"{meeting}.{letter}"
        self.words: list[str] = []
        self.segments: list[str] = []
        self.meeting = meeting

    def word(self, text: str, times: str) -> None:
        flags = ' punc="true"' if text in ",.?" else ' trunc="true"' if text == "gr" else ""
        self.words.append(f'<w nite:id="{self._next()}" {times}{flags}>{escape(text)}</w>')

    def sound(self, times: str) -> None:
        self.words.append(f'<vocalsound nite:id="{self._next()}" {times} type="laugh"/>')

    def _next(self) -> str:
        return f"{self.name}.words{len(self.words)}"

    def segment(self, times: str, first: int) -> None:
        name = f"{self.meeting}.sync.{self.name[-1]}{len(self.segments)}"
        span = f"id({self.name}.words{first})..id({self.name}.words{len(self.words) - 1})"
        self.segments.append(
            f'<segment nite:id="{name}" {times}>'
            f'<nite:child href="{self.name}.words.xml#{span}"/></segment>'
        )

    def say(self, start_s: float, words: tuple[str, ...]) -> float:
        """A segment of words after a laugh of 0.2 s, with a pause after a full stop."""
        first, at = len(self.words), start_s + 0.2
        self.sound(f'starttime="{start_s:.2f}" endtime="{at:.2f}"')
        for word in words:
            end = at if word in ",.?" else at + WORD_S
            self.word(word, f'starttime="{at:.2f}" endtime="{end:.2f}"')
            # Without a pause, the two sentences would be one utterance.
            at = end + 0.5 * (word == ".")
        times = f'transcriber_start="{start_s:.2f}" transcriber_end="{at + 0.1:.2f}"'
        self.segment(times, first)
        return at + 0.1

    def write(self, root: Path) -> None:
        for kind, lines in (("words", self.words), ("segments", self.segments)):
            body = "\n   ".join(lines)
            path = root / kind / f"{self.name}.{kind}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f'{HEAD}<nite:root nite:id="{self.name}.{kind}" {NITE}>\n   {body}\n</nite:root>\n',
                encoding="iso-8859-1",
            )


def make_ami(
    root: Path, rounds: int = 1, mic: str = "ihm", defects: bool = True, as_zip: bool = False
) -> Path:
    """Writes a corpus folder and returns it.

    Args:
        rounds: how often a speaker says the sentences: 5 utterances each time, of 4 speakers a
            meeting.
        mic: ihm or sdm.
        defects: whether the defects of `DEFECTS` are planted, all in train.
        as_zip: whether the annotations stay in their zip.
    """
    notes = root / "ami_public_manual_1.6.2"
    meetings = []
    for number, meeting in enumerate(m for names in MEETINGS.values() for m in names):
        length_s = LENGTH_S + SPACING_S * (rounds - 1) * len(SENTENCES)
        audio = root / "wav_db" / meeting / "audio"
        audio.mkdir(parents=True)
        people = []
        for channel, letter in enumerate(LETTERS):
            speaker = Speaker(meeting, letter)
            at = 1.0 + 0.1 * channel
            for sentence in SENTENCES * rounds:
                # lhotse takes the files for UTF-8, whatever they declare.
                accent = "caf\u00e9" if defects and meeting == "ES2002a" else "cafe"
                speaker.say(at, tuple(accent if w == "cafe" else w for w in sentence))
                at += SPACING_S
            if defects and meeting == "ES2002a":
                _plant(speaker, at, channel)
            speaker.write(notes)
            people.append(
                f'<speaker nite:id="{meeting}.{letter}" nxt_agent="{letter}" '
                f'global_name="{"MF"[channel % 2]}EE{number}0{channel}" channel="{channel}"/>'
            )
            if mic == "ihm":
                samples = noise(length_s, 10 * number + channel)
                soundfile.write(audio / f"{meeting}.Headset-{channel}.wav", samples, RATE)
        if mic == "sdm":
            samples = noise(length_s, 10 * number)
            soundfile.write(audio / f"{meeting}.Array1-01.wav", samples, RATE)
        meetings.append(
            f'<meeting nite:id="{meeting[:-1]}" observation="{meeting}">{"".join(people)}</meeting>'
        )
    resources = notes / "corpusResources" / "meetings.xml"
    resources.parent.mkdir()
    resources.write_text(f"{HEAD}<nite:root {NITE}>{''.join(meetings)}</nite:root>")
    if defects:
        _plant_files(root, notes, mic)
    if as_zip:
        with zipfile.ZipFile(root / "ami_public_manual_1.6.2.zip", "w") as archive:
            for path in sorted(notes.rglob("*")):
                archive.write(path, path.relative_to(notes))
                if path.is_file():
                    path.unlink()
        for folder in (*notes.iterdir(), notes):
            folder.rmdir()
    return root


def _plant(speaker: Speaker, at: float, channel: int) -> None:
    """Defects of words and segments, after the good ones."""
    if channel == 0:
        first = len(speaker.words)
        speaker.word("timeless", "")
        speaker.word("endless", f'starttime="{at + 0.1:.2f}"')
        speaker.word("momentary", f'starttime="{at + 0.2:.2f}" endtime="{at + 0.2:.2f}"')
        speaker.word("", f'starttime="{at + 0.2:.2f}" endtime="{at + 0.3:.2f}"')
        speaker.word("kept", f'starttime="{at + 0.3:.2f}" endtime="{at + 0.6:.2f}"')
        speaker.segment(f'transcriber_start="{at:.2f}" transcriber_end="{at + 1:.2f}"', first)
    elif channel == 1:
        speaker.word(",", f'starttime="{at + 0.5:.2f}" endtime="{at + 0.5:.2f}"')
        speaker.word("outside", f'starttime="{at + 2:.2f}" endtime="{at + 2.3:.2f}"')
        speaker.segment(f'transcriber_start="{at:.2f}" transcriber_end="{at + 1:.2f}"', 0)
        speaker.segment('transcriber_start="soon" transcriber_end="later"', 0)
    elif channel == 2:
        speaker.say(at + 100, ("late",))


# By the id in excluded.tsv of train; {n} counts the words before the planted ones.
DEFECTS = {
    "ES2002a.A.words{n}": "word 'timeless' without starttime and endtime",
    "ES2002a.A.words{n+1}": "word 'endless' without starttime and endtime",
    "ES2002a.A.words{n+2}": "word 'momentary' lasts 0.00 s",
    "ES2002a.A.words{n+3}": "word without text",
    "ES2002a.B.words{n+1}": "word 'outside' lies in no segment",
    "ES2002a.sync.B{s}": "segment without words",
    "ES2002a.sync.B{s+1}": "segment without transcriber_start and transcriber_end",
    "EN2001a.C": "words/EN2001a.C.words.xml is not readable: no element found: line 1, column 0",
    "EN2001a.D": "no segments/EN2001a.D.segments.xml",
}


def defects(rounds: int = 1) -> dict[str, str]:
    """The planted defects of words and segments."""
    words = rounds * sum(len(sentence) + 1 for sentence in SENTENCES)
    segments = rounds * len(SENTENCES)
    names = {"{n}": words, "{n+1}": words + 1, "{n+2}": words + 2, "{n+3}": words + 3}
    names |= {"{s}": segments, "{s+1}": segments + 1}
    found = {}
    for key, reason in DEFECTS.items():
        for name, value in names.items():
            key = key.replace(name, str(value))
        found[key] = reason
    cafe = SENTENCES[-1].index("cafe") - len(SENTENCES[-1])  # from the end of a round
    for letter in LETTERS:
        for last in range(words // rounds, words + 1, words // rounds):
            found[f"ES2002a.{letter}.words{last + cafe}"] = "word 'caf\u00e9' is written 'CAF'"
    return found


def _plant_files(root: Path, notes: Path, mic: str) -> None:
    (notes / "words" / "EN2001a.C.words.xml").write_text("")
    (notes / "segments" / "EN2001a.D.segments.xml").unlink()
    (notes / "words" / "notes.txt").write_text("not of the corpus")
    if mic == "ihm":
        # With the first headset missing, lhotse would give the others their neighbour's words.
        (root / "wav_db/EN2001a/audio/EN2001a.Headset-0.wav").unlink()
        (root / "wav_db/ES2002a/audio/ES2002a.Headset-3.wav").write_text("no audio")


def prepare(tmp_path, folder, *more):
    out = tmp_path / "out"
    main(["--corpus", "ami", "--corpus_dir", str(folder), "--output", str(out), *more])
    for name in SETS:
        assert validate(out / name).problems == []
    return out


def excluded_of_those_there(folder):
    """What is excluded of the meetings that are there."""
    return {k: v for k, v in excluded(folder).items() if not v.endswith("in corpus_dir")}
