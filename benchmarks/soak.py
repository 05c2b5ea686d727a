"""A stream of hours: memory and time per chunk stay flat, the text does not fade.

    python -m benchmarks.soak --model exp/mini_tiny/stage5b --data data/mini/test --minutes 120

One stream of utterances joined with pauses, over and over, with endpointing on. Prints a line a
minute and a summary, and exits with status 1 when a bound is passed: memory within 5 % of what it
was after the first minute, time per chunk in the last tenth at most 1.1 times that in the first,
and as many word errors against the utterances' transcripts at the end as at the start.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np
import torch

from espnet_local.audio import AudioReader
from espnet_local.config import SAMPLE_RATE
from espnet_local.decode.endpoint import EndpointRules
from espnet_local.decode.recognizer import Recognizer
from espnet_local.decode.stream import Result
from espnet_local.files import read_table
from espnet_local.metrics import resident_memory_mb, timed_words

PAUSE_SECONDS = 1.5
PACKET_SAMPLES = SAMPLE_RATE // 10
MEMORY_BOUND, TIME_BOUND = 1.05, 1.1


def main() -> None:
    """Streams, measures and judges."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--model", required=True, help="a sub-stage's folder")
    parser.add_argument("--data", required=True, type=Path, help="a Kaldi data directory")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--method", default="greedy", choices=("greedy", "beam"))
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error(f"--minutes must be >= 1, got {options.minutes}")
    torch.set_num_threads(1)
    recognizer = Recognizer.from_pretrained(
        options.model, method=options.method, endpoint=EndpointRules()
    )
    report = soak(recognizer, options.data, options.minutes)
    print(report.text())
    sys.exit(0 if report.is_flat else 1)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a long stream showed."""

    memory_mb: tuple[float, ...]  # at the end of each minute of audio
    young_ms: float  # median time a chunk in the first tenth
    old_ms: float  # and in the last
    first_errors: float  # % of the words of the first half
    last_errors: float  # and of the second

    @property
    def memory_growth(self) -> float:
        """The largest memory over that after the first minute."""
        return max(self.memory_mb) / self.memory_mb[0]

    @property
    def is_flat(self) -> bool:
        """Whether memory, time and text stayed as they were."""
        # The halves are cut at an utterance, not at a segment: some words may fall on either side.
        text_stays = self.last_errors <= self.first_errors + 1.0
        time_stays = self.old_ms <= TIME_BOUND * self.young_ms
        return self.memory_growth <= MEMORY_BOUND and time_stays and text_stays

    def text(self) -> str:
        """For people."""
        return (
            f"memory: {self.memory_mb[0]:.0f} MB after a minute, at most "
            f"{self.memory_growth:.3f} times that later\n"
            f"time per chunk: {self.young_ms:.2f} ms in the first tenth, "
            f"{self.old_ms / self.young_ms:.3f} times that in the last\n"
            f"word errors: {self.first_errors:.1f} % in the first half, "
            f"{self.last_errors:.1f} % in the second\n"
            + ("all within bounds" if self.is_flat else "out of bounds")
        )


def soak(recognizer: Recognizer, data: Path, minutes: float) -> Report:
    """Streams the utterances of a data directory over and over, as one stream."""
    audio, texts = AudioReader(data / "wav.scp"), read_table(data / "text")
    stream = recognizer.create_stream()
    chunk_times: list[float] = []
    memory: list[float] = []
    spoken: list[tuple[float, str]] = []  # when a word's utterance ends, the word
    heard: list[tuple[float, str]] = []  # when a word was heard, the word
    seconds = 0.0
    for samples, words in _endless(audio, texts):
        for start in range(0, len(samples), PACKET_SAMPLES):
            packet = samples[start : start + PACKET_SAMPLES]
            stream.accept_waveform(SAMPLE_RATE, packet)
            seconds += len(packet) / SAMPLE_RATE
            while recognizer.is_ready(stream):
                begin = time.perf_counter()
                recognizer.decode_streams([stream])
                result = recognizer.get_result(stream)
                chunk_times.append(time.perf_counter() - begin)
                if result.is_final:
                    heard += _timed(result)
                    recognizer.reset(stream)
            if seconds >= 60 * (len(memory) + 1):
                memory.append(resident_memory_mb())
                recent = statistics.median(chunk_times[-180:])
                line = f"{seconds / 60:.0f} min  {memory[-1]:.0f} MB  {1000 * recent:.2f} ms/chunk"
                print(line, flush=True)
        spoken += [(seconds, word) for word in words]
        if seconds >= 60 * minutes:
            break
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_streams([stream])
    heard += _timed(recognizer.get_result(stream))
    tenth, half = len(chunk_times) // 10, seconds / 2
    return Report(
        memory_mb=tuple(memory),
        young_ms=1000 * statistics.median(chunk_times[:tenth]),
        old_ms=1000 * statistics.median(chunk_times[-tenth:]),
        first_errors=_errors([w for t, w in spoken if t < half], [w for t, w in heard if t < half]),
        last_errors=_errors(
            [w for t, w in spoken if t >= half], [w for t, w in heard if t >= half]
        ),
    )


def _timed(result: Result) -> list[tuple[float, str]]:
    return [(word.seconds, word.word) for word in timed_words(result.tokens, result.timestamps)]


def _endless(audio: AudioReader, texts: dict[str, str]) -> Iterator[tuple[np.ndarray, list[str]]]:
    pause = np.zeros(int(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    while True:
        for utterance in audio:
            yield np.concatenate([audio[utterance], pause]), texts[utterance].split()


def _errors(spoken: list[str], heard: list[str]) -> float:
    return 100 * kaldialign.edit_distance(spoken, heard)["total"] / len(spoken)


if __name__ == "__main__":
    main()
