"""What was said in one stream, as text, CTM or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from espnet_local.config import FRAME_MS
from espnet_local.decode.stream import Result
from espnet_local.metrics import timed_words
from espnet_local.tokens import WORD_BOUNDARY


@dataclass(frozen=True, slots=True)
class Transcript:
    """The closed segments of a stream."""

    name: str
    seconds: float  # of audio
    segments: tuple[Result, ...]

    @property
    def text(self) -> str:
        """Of all segments."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    def ctm(self) -> list[str]:
        """`<name> 1 <start s> <duration s> <word> <confidence>` lines.

        A word lasts from the frame of its first token to that of its last; its confidence is the
        geometric mean of their probabilities.
        """
        name = self.name.replace(" ", "_")
        lines = []
        for segment in self.segments:
            for word, tokens in _words(segment):
                start, last = (segment.timestamps[i] for i in (tokens[0], tokens[-1]))
                duration = last - start + FRAME_MS / 1000
                logprob = sum(segment.token_logprobs[i] for i in tokens) / len(tokens)
                lines.append(f"{name} 1 {start:.2f} {duration:.2f} {word} {math.exp(logprob):.3f}")
        return lines

    def json(self) -> str:
        """One line."""
        segments = [
            {**asdict(s), "token_logprobs": [round(v, 4) for v in s.token_logprobs]}
            for s in self.segments
        ]
        value = {
            "name": self.name,
            "seconds": round(self.seconds, 3),
            "text": self.text,
            "segments": segments,
        }
        return json.dumps(value, ensure_ascii=False)


def _words(segment: Result) -> list[tuple[str, list[int]]]:
    """Each word with the places of its tokens; a boundary that is a token of its own is none."""
    places = [float(i) for i in range(len(segment.tokens))]
    found, begin = [], 0
    for word in timed_words(segment.tokens, places):
        tokens = range(begin, int(word.seconds) + 1)
        found.append((word.word, [i for i in tokens if segment.tokens[i] != WORD_BOUNDARY]))
        begin = int(word.seconds) + 1
    return found
