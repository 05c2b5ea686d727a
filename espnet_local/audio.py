"""Reading audio: files and kaldiio archives, as float32 in [-1, 1]. N samples.

The value of a wav.scp line is `<file>` (wav, flac, ogg, mp3: what libsndfile reads) or
`<archive>:<offset>` (a kaldiio archive with wav, or with any such format in its AUDIO container).

Scaling differs in ESPnet's own data types: "sound" gives [-1, 1]; "kaldi_ark" gives [-1, 1] for
FLAC in an archive but the bare 16-bit integers for wav, in an archive or not. This reader always
gives [-1, 1], and finds what those pass over: a wav shorter than its header says, more than one
channel, another rate.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile

from espnet_local.config import SAMPLE_RATE
from espnet_local.files import read_table

_CONTAINER = b"AUDIO"  # kaldiio: AUDIO, one byte with the length of the length, length, the file
_UNKNOWN_LENGTH = 0xFFFFFFFF  # a wav written to a pipe
_TAIL_FRAMES = 400  # read at the end of an audio file to know that it is there
_BLOCK_FRAMES = 65_536
_BUFFER_BYTES = 8_192


class Audio(NamedTuple):
    """Mono audio at the rate it was stored at."""

    samples: np.ndarray  # (N,) float32 in [-1, 1]
    sample_rate: int  # Hz


def read_audio(value: str, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The samples, (N,) float32 in [-1, 1], that a wav.scp value names.

    Args:
        value: `<file>` or `<archive>:<offset>`.
        sample_rate: the rate the audio must have, Hz.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: naming the thing when it is empty, truncated, not mono, at another rate or
            not audio.
    """
    audio = read_any_rate(value)
    if audio.sample_rate != sample_rate:
        raise ValueError(f"{value}: {audio.sample_rate} Hz, expected {sample_rate} Hz")
    return audio.samples


def read_any_rate(value: str, channel: int | None = None) -> Audio:
    """As `read_audio`, at whatever rate the audio has; `channel` as in `AudioFile`."""
    blob = _read_blob(value)
    if not blob:
        raise ValueError(f"{value}: empty file")
    with _opened(BytesIO(blob), len(blob), value) as stream:
        frames, rate = stream.frames, stream.samplerate
        samples = _read_column(stream, frames, _column(stream, value, channel))
    if len(samples) < frames:
        raise ValueError(f"{value}: truncated, {len(samples)} of {frames} samples")
    if len(samples) == 0:
        raise ValueError(f"{value}: empty audio")
    return Audio(samples, rate)


class AudioInfo(NamedTuple):
    """What an audio file's header says."""

    frames: int  # samples of each channel
    sample_rate: int  # Hz
    channels: int


def audio_info(value: str, decode: bool = False) -> AudioInfo:
    """Reads the header of what a wav.scp value names, and some samples at its end.

    The end is what a file that was cut short lacks; damage in the middle shows only on decoding.

    Args:
        value: `<file>` or `<archive>:<offset>`.
        decode: read all of it, a block in memory at a time.

    Raises:
        FileNotFoundError, ValueError: as `read_audio`, but for rate and channels.
    """
    path, offset = split_offset(value)
    with path.open("rb") as file:
        start, length = 0, os.fstat(file.fileno()).st_size
        if offset is not None:
            start, length = _locate(file, offset, value)
        if not length:
            raise ValueError(f"{value}: empty file")
        window = BufferedReader(_Window(file, start, length), _BUFFER_BYTES)
        with _opened(window, length, value) as stream:
            frames = stream.frames
            first = 0 if decode else max(0, frames - _TAIL_FRAMES)
            stream.seek(first)
            read = sum(map(len, stream.blocks(_BLOCK_FRAMES, dtype="float32")))
            info = AudioInfo(frames, stream.samplerate, stream.channels)
    if first + read < frames:
        raise ValueError(f"{value}: truncated, {first + read} of {frames} samples")
    if not frames:
        raise ValueError(f"{value}: empty audio")
    return info


class AudioFile:
    """One channel of an audio file of any rate and length, of which pieces are read.

    Args:
        path: the file.
        channel: which channel, from 0; None where the file must have one.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not readable as audio, or has no such channel.
    """

    def __init__(self, path: str, channel: int | None = None) -> None:
        self._path = path
        # libsndfile says "System error" for all that keeps it out.
        with Path(path).open("rb") as file:
            self._missing = _missing_wav_bytes(file, os.fstat(file.fileno()).st_size)
        try:
            self._stream = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path}: not readable as audio: {error.error_string}") from None
        self._column = _column(self._stream, path, channel)
        self.sample_rate: int = self._stream.samplerate
        self.length_samples: int = self._stream.frames

    def read(self, start: int, stop: int | None) -> np.ndarray:
        """The samples from `start` to before `stop`, or to the end of the file, (N,) float32.

        Raises:
            ValueError: when the file is cut short, and the piece is not wholly before that.
        """
        if self._missing and (stop is None or stop > self.length_samples):
            raise ValueError(
                f"{self._path}: truncated, {self._missing} bytes short of what its header says"
            )
        stop = self.length_samples if stop is None else min(stop, self.length_samples)
        count = max(0, stop - start)
        try:
            self._stream.seek(start)
            samples = _read_column(self._stream, count, self._column)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self._path}: not readable: {error.error_string}") from None
        if len(samples) < count:
            raise ValueError(f"{self._path}: truncated, {start + len(samples)} samples")
        return samples

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()


def _column(stream: soundfile.SoundFile, name: str, channel: int | None) -> int:
    """The column of a channel, which must be there."""
    if channel is None and stream.channels != 1:
        raise ValueError(f"{name}: {stream.channels} channels, expected 1")
    if channel is not None and not 0 <= channel < stream.channels:
        raise ValueError(f"{name}: no channel {channel}, it has {stream.channels}")
    return channel or 0


def _read_column(stream: soundfile.SoundFile, count: int, column: int) -> np.ndarray:
    samples = stream.read(count, dtype="float32", always_2d=True)[:, column]
    return np.ascontiguousarray(samples)  # a view would keep all channels in memory


class AudioReader(Mapping[str, np.ndarray]):
    """The audio of a wav.scp by utterance, read when asked for; also an ESPnet data loader.

    Args:
        scp: path of the wav.scp.

    Raises:
        FileNotFoundError, ValueError: as `read_table` does here, and `read_audio` on reading.
    """

    def __init__(self, scp: str | Path) -> None:
        self._values = read_table(scp)

    def __getitem__(self, utterance: str) -> np.ndarray:
        return read_audio(self._values[utterance])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def split_offset(value: str) -> tuple[Path, int | None]:
    """A wav.scp value as path and offset in bytes; None when it names a whole file."""
    name, separator, offset = value.rpartition(":")
    if separator and offset.isdecimal() and not Path(value).is_file():
        return Path(name), int(offset)
    return Path(value), None


@contextmanager
def _opened(file: BinaryIO, length: int, value: str) -> Iterator[soundfile.SoundFile]:
    """An audio file of `length` bytes, open for reading.

    Raises:
        ValueError: naming it when it is truncated (wav) or not audio, also while it is read.
    """
    missing = _missing_wav_bytes(file, length)
    if missing:
        raise ValueError(f"{value}: truncated, {missing} bytes short of what its header says")
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as stream:
            yield stream
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{value}: not readable as audio: {error.error_string}") from None


def _read_blob(value: str) -> bytes:
    """The bytes of one audio file, also when it lies in an archive."""
    path, offset = split_offset(value)
    if offset is None:
        return path.read_bytes()
    with path.open("rb") as stream:
        start, length = _locate(stream, offset, value)
        stream.seek(start)
        return stream.read(length)


def _locate(stream: BinaryIO, offset: int, value: str) -> tuple[int, int]:
    """Where in an archive the audio file at an offset starts, and its length in bytes."""
    stream.seek(offset)
    end = os.fstat(stream.fileno()).st_size
    head = stream.read(len(_CONTAINER))
    if head == _CONTAINER:
        digits = stream.read(1)
        length = int.from_bytes(stream.read(digits[0]), "little") if digits else 0
        start = stream.tell()
        if start + length > end or not digits:
            raise ValueError(f"{value}: truncated, the archive ends within it")
        return start, length
    if head[:4] == b"RIFF":
        length = struct.unpack("<I", (head[4:] + stream.read(3)).ljust(4, b"\0"))[0]
        return offset, min(length + 8, end - offset)
    raise ValueError(f"{value}: neither AUDIO nor RIFF stands at this offset of the archive")


class _Window(RawIOBase):
    """A part of an open file as a file."""

    def __init__(self, stream: BinaryIO, start: int, length: int) -> None:
        self._stream, self._start, self._length, self._position = stream, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        room = max(0, min(len(buffer), self._length - self._position))
        data = os.pread(self._stream.fileno(), room, self._start + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _missing_wav_bytes(stream: BinaryIO, length: int) -> int:
    """How many bytes of its data chunk a wav file of a length lacks; 0 for other formats.

    libsndfile takes a truncated wav for a shorter one.
    """
    head = stream.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0
    position = 12
    while position + 8 <= length:
        stream.seek(position)
        name, size = struct.unpack("<4sI", stream.read(8))
        position += 8
        if name == b"data":
            return 0 if size == _UNKNOWN_LENGTH else max(0, position + size - length)
        position += size + size % 2
    return position - length if position > length else 0
