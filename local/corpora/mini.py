"""The mini corpus: synthetic commands and digits, made on the spot. N samples.

Voices and sentences of dev and test occur in no other set. A voice is an espeak-ng accent with a
variant; the variants (which carry the timbre) are held out, not only their combinations.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata

import numpy as np
import soxr

from espnet_local.config import SAMPLE_RATE
from local.corpora.espeak import INSTALL_HINT, Speech, Synthesiser
from local.corpora.grammar import Grammar, load_grammar, sentences, transcript
from local.corpora.utterance import DEBUG_SIZES, TimedWord, Utterance
from local.corpora.workers import ordered_map

VERSION = 1  # raise it when the corpus changes with unchanged options
SIZES = {"train": 3000, "dev": 80, "test": 150}  # utterances
VARIANTS = {
    "train": ("m1", "m2", "m3", "m4", "m6", "m8", "f1", "f2", "f4", "Annie", "max", "linda",
              "michel", "john", "belinda", "pablo", "steph", "ed", "Andy", "adam", "Alex",
              "Denis", "Diogo", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Michael", "Reed",
              "anika", "antonio", "aunty", "benjamin", "boris", "caleb", "david", "grandma",
              "gustave", "ian", "marcelo", "miguel", "paul", "quincy", "robert", "shelby",
              "travis", "victor"),
    "dev": ("m7", "f5", "Alicia"),
    "test": ("m5", "f3", "Andrea", "Gene"),
}  # fmt: skip
RATE_WPM = (115, 160)
PITCH = (30, 70)
PITCH_RANGE = (30, 80)
VOICE_SCALE = (0.82, 1.22)  # of all frequencies: longer and shorter vocal tracts
SNR_DB = (20.0, 40.0)
PEAK_DBFS = (-18.0, -1.0)
SILENCE_S = (0.05, 0.4)  # before and after the speech
MIN_DURATION_S = 1.5
SILENT_DB = -40.0  # below the loudest: a word has ended
UTTERANCES_PER_TASK = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What one utterance says and who says it."""

    id: str
    speaker: str
    voice: str
    sentence: str
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MiniCorpus:
    """The mini corpus with its options."""

    language: str = "en"
    seed: int = 0
    debug: bool = False

    def identity(self) -> dict[str, object]:
        """All that the corpus depends on, for a fingerprint."""
        return {
            "corpus": "mini",
            "version": VERSION,
            "espeakng_loader": _espeak_version(),
            "grammar": asdict(load_grammar(self.language)),
            **asdict(self),
        }

    def size(self, set_name: str) -> int:
        """How many utterances a set has."""
        return (DEBUG_SIZES if self.debug else SIZES)[set_name]

    def items(self, set_name: str, nj: int) -> Iterator[Utterance]:
        """The utterances of a set, the same for every `nj`.

        Raises:
            ValueError: for an unknown language or one whose grammar is too small.
        """
        lines = self.script(set_name)
        tasks = [
            lines[begin : begin + UTTERANCES_PER_TASK]
            for begin in range(0, len(lines), UTTERANCES_PER_TASK)
        ]
        return ordered_map(say_lines, tasks, nj)

    def script(self, set_name: str) -> list[Line]:
        """The lines of a set, sorted by id."""
        grammar = load_grammar(self.language)
        rng = random.Random(f"{set_name}-{self.language}-{self.seed}")
        lines = []
        for number, sentence in enumerate(sentences(grammar, set_name, self.size(set_name), rng)):
            voice = rng.choice(voices(grammar, set_name))
            speaker = voice.replace("-", "_").replace("+", "_").lower()
            utterance_id = f"{speaker}-{set_name}-{number:05d}"
            lines.append(
                Line(
                    id=utterance_id,
                    speaker=speaker,
                    voice=voice,
                    sentence=sentence,
                    seed=zlib.crc32(f"{utterance_id}-{self.seed}".encode()) % 2**31,
                )
            )
        return sorted(lines, key=lambda line: line.id)


def _espeak_version() -> str:
    try:
        return metadata.version("espeakng-loader")
    except metadata.PackageNotFoundError:
        raise ValueError(INSTALL_HINT) from None


def voices(grammar: Grammar, set_name: str) -> list[str]:
    """The voices of a set: each of its variants in two accents of the language."""
    return [
        f"{accent}+{variant}"
        for variant in VARIANTS[set_name]
        for accent in random.Random(variant).sample(grammar.accents, min(2, len(grammar.accents)))
    ]


def say_lines(lines: list[Line]) -> list[Utterance]:
    """Synthesises lines, one after another, in a process of their own."""
    synthesiser = Synthesiser()
    return [say(synthesiser, line) for line in lines]


def say(synthesiser: Synthesiser, line: Line) -> Utterance:
    """One utterance: speech, silence around it, noise, level.

    Played faster, a voice has higher formants and pitch, as from a shorter vocal tract; the
    synthesiser speaks slower to make up for it.
    """
    rng = np.random.default_rng(line.seed)
    scale = float(np.exp(rng.uniform(*np.log(VOICE_SCALE))))
    speech = synthesiser.speak(
        line.sentence,
        voice=line.voice,
        rate_wpm=round(rng.uniform(*RATE_WPM) / scale),
        pitch=int(rng.integers(*PITCH, endpoint=True)),
        pitch_range=int(rng.integers(*PITCH_RANGE, endpoint=True)),
        seed=line.seed,
    )
    native_rate = round(synthesiser.sample_rate * scale)
    spans = sounding_spans(speech, native_rate)
    clean = soxr.resample(speech.samples, native_rate, SAMPLE_RATE)
    before, after = (int(s * SAMPLE_RATE) for s in rng.uniform(*SILENCE_S, size=2))
    missing = int(MIN_DURATION_S * SAMPLE_RATE) - before - len(clean) - after
    samples = np.pad(clean, (before, after + max(0, missing)))
    samples = samples + noise(samples, rng.uniform(*SNR_DB), rng)
    samples *= 10 ** (rng.uniform(*PEAK_DBFS) / 20) / np.abs(samples).max()
    offset_s = before / SAMPLE_RATE
    words = transcript(line.sentence).split()
    return Utterance(
        id=line.id,
        speaker=line.speaker,
        samples=samples.astype(np.float32),
        text=" ".join(words),
        words=tuple(
            TimedWord(
                word=word,
                start_s=offset_s + begin / native_rate,
                duration_s=(end - begin) / native_rate,
            )
            for word, (begin, end) in zip(words, spans, strict=True)
        ),
    )


def sounding_spans(speech: Speech, rate: int) -> list[tuple[int, int]]:
    """Word spans without the pause after a word; the synthesiser says only where words begin."""
    block = rate // 100  # 10 ms
    count = len(speech.samples) // block
    blocks = speech.samples[: count * block].reshape(count, block)  # (N,) -> (count, block)
    power = (blocks**2).mean(axis=1)
    sounding = power > power.max() * 10 ** (SILENT_DB / 10)
    spans = []
    for begin, end in speech.word_spans:
        heard = np.flatnonzero(sounding[begin // block : end // block])
        last = (begin // block + heard[-1] + 1) * block if len(heard) else end
        spans.append((begin, int(min(end, max(last, begin + block)))))
    return spans


def noise(samples: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Noise between white and pink for samples (N,), at an SNR over the whole utterance."""
    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    bins = np.maximum(np.arange(len(spectrum)), 1)
    coloured = np.fft.irfft(spectrum * bins ** -rng.uniform(0, 0.5), len(samples))
    power = (samples**2).mean() / 10 ** (snr_db / 10)
    return coloured * np.sqrt(power / (coloured**2).mean())
