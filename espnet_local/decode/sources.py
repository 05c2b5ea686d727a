"""Where a live stream's samples come from: files, raw PCM on stdin, the microphone. N samples."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from espnet_local.audio import read_any_rate

log = logging.getLogger(__name__)

STDIN, MICROPHONE = "-", "mic"
MICROPHONE_RATE = 16_000  # Hz; the audio system converts


@dataclass(frozen=True, kw_only=True)
class Source:
    """One stream of packets."""

    name: str
    sample_rate: int  # Hz
    packets: Iterator[np.ndarray]  # (N,) float32 in [-1, 1] each
    is_live: bool  # packets come in their own time and need no pacing


def open_sources(
    names: list[str], packet_ms: int, pcm: BinaryIO, pcm_sample_rate: int
) -> list[Source]:
    """The sources that a command line names.

    Args:
        names: audio files, or `-` or `mic` alone.
        packet_ms: audio in a packet.
        pcm: where `-` reads signed 16-bit little-endian samples of one channel.
        pcm_sample_rate: of those, Hz.

    Raises:
        FileNotFoundError, ValueError: naming the source that is wrong.
    """
    if packet_ms < 1:
        raise ValueError(f"packet_ms must be >= 1 ms, got {packet_ms}")
    live = [name for name in names if name in (STDIN, MICROPHONE)]
    if live and len(names) > 1:
        raise ValueError(f"{live[0]!r} must be the only input, got {len(names)}")
    if live == [STDIN]:
        if pcm_sample_rate < 1:
            raise ValueError(f"sample_rate must be >= 1 Hz, got {pcm_sample_rate}")
        packets = _pcm_packets(pcm, max(1, pcm_sample_rate * packet_ms // 1000))
        return [Source(name="stdin", sample_rate=pcm_sample_rate, packets=packets, is_live=True)]
    if live == [MICROPHONE]:
        return [_microphone(packet_ms)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice}: given twice")
    return [_file(name, packet_ms) for name in names]


def _file(name: str, packet_ms: int) -> Source:
    if not Path(name).exists():
        raise FileNotFoundError(2, "no such file", name)
    audio = read_any_rate(name)
    count = max(1, audio.sample_rate * packet_ms // 1000)
    starts = range(0, len(audio.samples), count)
    packets = (audio.samples[start : start + count] for start in starts)
    return Source(name=name, sample_rate=audio.sample_rate, packets=packets, is_live=False)


def _pcm_packets(stream: BinaryIO, count: int) -> Iterator[np.ndarray]:
    while data := stream.read(2 * count):
        if len(data) % 2:
            log.warning("stdin: ended within a 16-bit sample, its one byte is left out")
        yield np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 2**15


def _microphone(packet_ms: int) -> Source:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio, its C library, is missing
        raise ValueError(
            f"mic: needs sounddevice ({error}); pip install sounddevice, and PortAudio"
        ) from None
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def put(block: np.ndarray, *_: Any) -> None:
        heard.put(block[:, 0].copy())

    def packets() -> Iterator[np.ndarray]:
        count = MICROPHONE_RATE * packet_ms // 1000
        try:
            with sounddevice.InputStream(
                MICROPHONE_RATE, blocksize=count, channels=1, dtype="float32", callback=put
            ):
                while True:
                    yield heard.get()
        except sounddevice.PortAudioError as error:
            raise ValueError(f"mic: {error}") from None

    return Source(name=MICROPHONE, sample_rate=MICROPHONE_RATE, packets=packets(), is_live=True)
