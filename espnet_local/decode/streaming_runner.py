"""Decodes one shard of a data set as the recognizer does: raw samples, chunk by chunk.

N samples.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from espnet_local.config import SAMPLE_RATE
from espnet_local.decode.endpoint import FRAME_SECONDS
from espnet_local.decode.hypothesis import Labels
from espnet_local.decode.model import LoadedModel
from espnet_local.decode.output import Outputs, write_outputs
from espnet_local.decode.plan import DecodeSpec, DecodeTask, Shard
from espnet_local.decode.recognizer import Recognizer
from espnet_local.decode.shard_audio import ShardAudio
from espnet_local.decode.stream import Stream
from espnet_local.metrics import (
    LOOK_AHEAD_MS,
    EmissionTimes,
    StreamCost,
    peak_memory_mb,
    reset_peak_memory,
)

log = logging.getLogger(__name__)

PACKET_SAMPLES = SAMPLE_RATE // 10  # as audio devices and networks deliver: 100 ms


def decode_streaming(
    loaded: LoadedModel,
    task: DecodeTask,
    shard: Shard,
    spec: DecodeSpec,
    report: Callable[[str], None],
) -> None:
    """Streams one shard of a task, many utterances at a time, and times some one at a time.

    Args:
        loaded: the model, on the device to decode on.
        report: receives progress lines.

    Raises:
        ValueError, OSError: for audio that cannot be decoded, naming the utterance.
    """
    recognizer = Recognizer(loaded, task.context, task.method, spec.beam)
    audio = ShardAudio(task.data_dir, shard)
    title = f"stream {task.substage} {task.context.name} {task.dataset} {task.method}"
    timed = [audio.read(u) for u in islice(audio.samples, spec.timed_utterances)]
    begin = time.monotonic()
    # The longest first, so that the streams of a batch end at about the same time.
    waiting = sorted(audio.samples, key=lambda u: (-audio.samples[u], u))
    labels: dict[str, Labels] = {}
    emissions: dict[str, tuple[float, ...]] = {}
    for start in range(0, len(waiting), spec.streams):
        batch = waiting[start : start + spec.streams]
        found = _stream_together(recognizer, [audio.read(u) for u in batch])
        for utterance, (stream, times) in zip(batch, found):
            labels[utterance], emissions[utterance] = stream.labels(), times.seconds()
        report(f"{title} {len(labels)}/{len(waiting)} utterances")
    elapsed = time.monotonic() - begin
    log.info("%s: %.1f s of audio in %.1f s", title, audio.seconds, elapsed)
    outputs = Outputs.of(labels, loaded.tokenizer)
    tables = {u: " ".join(f"{s:.3f}" for s in times) for u, times in emissions.items()}
    outputs = Outputs({**outputs.tables, "emission": tables}, _cost(recognizer, timed))
    for utterance, text in outputs.tables["text"].items():
        log.debug("%s %s: %s", title, utterance, text)
    write_outputs(task.shard_folder(shard), outputs, task.fingerprint)


def _stream_together(
    recognizer: Recognizer, utterances: list[np.ndarray]
) -> list[tuple[Stream, EmissionTimes]]:
    streams = [recognizer.create_stream() for _ in utterances]
    times = [EmissionTimes() for _ in utterances]
    for stream, samples in zip(streams, utterances):
        stream.accept_waveform(SAMPLE_RATE, samples)
        stream.input_finished()
    while ready := [i for i, stream in enumerate(streams) if recognizer.is_ready(stream)]:
        recognizer.decode_streams([streams[i] for i in ready])
        for i in ready:
            received = len(utterances[i]) / SAMPLE_RATE
            if not streams[i].decoded:
                received = streams[i].frames_seen * FRAME_SECONDS + LOOK_AHEAD_MS / 1000
            times[i].observe(received, recognizer.get_result(streams[i]).tokens)
    return list(zip(streams, times))


def _cost(recognizer: Recognizer, utterances: list[np.ndarray]) -> StreamCost | None:
    """Streams utterances one at a time in packets; None when there are none."""
    if not utterances:
        return None
    reset_peak_memory()
    computing = 0.0
    finalisation = []
    for samples in utterances:
        begin = time.perf_counter()
        stream = recognizer.create_stream()
        for start in range(0, len(samples), PACKET_SAMPLES):
            stream.accept_waveform(SAMPLE_RATE, samples[start : start + PACKET_SAMPLES])
            given = time.perf_counter()
            if start + PACKET_SAMPLES >= len(samples):
                stream.input_finished()
            while recognizer.is_ready(stream):
                recognizer.decode_streams([stream])
            recognizer.get_result(stream)
        computing += time.perf_counter() - begin
        finalisation.append(time.perf_counter() - given)
    return StreamCost(
        audio_seconds=sum(map(len, utterances)) / SAMPLE_RATE,
        computing_seconds=computing,
        finalisation_seconds=tuple(finalisation),
        peak_memory_mb=peak_memory_mb(),
    )
