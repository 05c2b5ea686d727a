"""Synthetic speech with word times, from espeak-ng through ctypes.

`espeakng-loader` brings the library and its voices as a Python package; nothing is installed in
the system. The library is global and not thread-safe: one synthesiser a process. It also keeps
state between utterances (phases, a noise generator): the same words after another history come
out slightly different, so whoever wants reproducible audio fixes the history (see `workers`).

API: `speak_lib.h` of espeak-ng 1.52. N samples.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

_AUDIO_OUTPUT_SYNCHRONOUS = 2  # samples go to the callback before espeak_Synth returns
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_EVENT_LIST_TERMINATED, _EVENT_WORD, _EVENT_END = 0, 1, 5
INSTALL_HINT = "the mini corpus needs espeakng-loader: pip install espeakng-loader"


class _Id(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Speech(NamedTuple):
    """Synthesised speech at the synthesiser's own rate."""

    samples: np.ndarray  # (N,) float32 in [-1, 1]
    word_spans: tuple[tuple[int, int], ...]  # first and one past the last sample of each word


class Synthesiser:
    """The synthesiser of this process.

    Raises:
        ValueError: when espeakng-loader is not installed or the library does not start.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise ValueError(INSTALL_HINT) from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.sample_rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, 0
        )
        if self.sample_rate <= 0:
            raise ValueError(f"espeak-ng does not start from {data_path.decode()!r}")
        self._pieces: list[np.ndarray] = []
        self._word_events: list[tuple[int, int]] = []  # text position from 0, sample
        self._end_sample = 0
        # Kept here because the library keeps only a pointer to it.
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    @property
    def version(self) -> str:
        """The library's version, such as `1.52.0`."""
        self._library.espeak_Info.restype = ctypes.c_char_p
        info: bytes = self._library.espeak_Info(None)
        return info.decode()

    def speak(
        self,
        text: str,
        *,
        voice: str,
        rate_wpm: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
        seed: int = 0,
    ) -> Speech:
        """Says `text`, words separated by single spaces.

        Args:
            text: what to say; a comma after a word makes a pause.
            voice: `<language>[+<variant>]`, such as `en-us+f3`.
            rate_wpm: speed in words a minute, 80 to 450.
            pitch: 0 to 100, 50 is the voice's own.
            pitch_range: 0 to 100, 0 is monotone, 50 is the voice's own.
            seed: for the noise in the voice.

        Returns:
            Samples and one span a word. Words that the library speaks as one (a few, such as
            "on the") share their common span in proportion to their letters.

        Raises:
            ValueError: for a voice that the library does not have, or when no sound comes back.
        """
        # Set for each text: settings that no speech follows pile up in the library's queue, and
        # the first word's event gets lost.
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in (
            (_PARAMETER_RATE, rate_wpm),
            (_PARAMETER_PITCH, pitch),
            (_PARAMETER_RANGE, pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces, self._word_events, self._end_sample = [], [], 0
        raw = text.encode()
        status = self._library.espeak_Synth(
            raw, len(raw) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        if status != 0 or not self._pieces:
            raise ValueError(f"espeak-ng says nothing for {text!r} (status {status})")
        samples = np.concatenate(self._pieces).astype(np.float32) / 32768
        return Speech(samples, _word_spans(text, self._word_events, self._end_sample))

    def _receive(self, samples: object, count: int, events: object) -> int:
        """Collects samples and word events; called by the library. 0 means go on."""
        if count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while (event := events[index]).type != _EVENT_LIST_TERMINATED:  # type: ignore[index]
            if event.type == _EVENT_WORD:
                self._word_events.append((event.text_position - 1, event.sample))
            elif event.type == _EVENT_END:
                self._end_sample = event.sample
            index += 1
        return 0


def _word_spans(
    text: str, events: list[tuple[int, int]], end_sample: int
) -> tuple[tuple[int, int], ...]:
    """One span a word of `text` from events (text position, sample) of some of the words.

    A word reaches to the next event; words without an event of their own share the span of the
    one before them in proportion to their letters.

    Raises:
        ValueError: when an event stands where no word begins, or the first word has none.
    """
    words = text.split(" ")
    starts = np.cumsum([0] + [len(word) + 1 for word in words[:-1]]).tolist()
    index_at = {start: index for index, start in enumerate(starts)}
    # A clause of its own begins with an event at its first word again: the first one counts.
    first_sample: dict[int, int] = {}
    for position, sample in events:
        if position not in index_at:
            raise ValueError(f"espeak-ng reports a word at character {position} of {text!r}")
        first_sample.setdefault(index_at[position], sample)
    if 0 not in first_sample:
        raise ValueError(f"espeak-ng reports no time for the first word of {text!r}")
    heads = sorted(first_sample)
    spans: list[tuple[int, int]] = []
    for head, following in zip(heads, [*heads[1:], len(words)]):
        begin = first_sample[head]
        end = first_sample[following] if following < len(words) else end_sample
        letters = np.cumsum([0] + [len(word) for word in words[head:following]])
        edges = (begin + (end - begin) * letters / letters[-1]).round().astype(int).tolist()
        spans.extend(zip(edges, edges[1:]))
    return tuple(spans)
