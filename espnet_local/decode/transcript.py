"""What was said in one stream, as text, CTM or JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from espnet_local.config import FRAME_MS
from espnet_local.decode.stream import Result
from espnet_local.metrics import timed_words
from espnet_local.tokens import WORD_BOUNDARY, pieces_to_text


@dataclass(frozen=True, slots=True)
class Transcript:
    """The closed segments of a stream."""

    name: str
    seconds: float  # of audio
    segments: tuple[Result, ...]

    @property
    def text(self) -> str:
        """Of all segments; a word that an endpoint has cut is one word again."""
        return pieces_to_text(piece for segment in self.segments for piece in segment.tokens)

    def ctm(self) -> list[str]:
        """`<name> 1 <start s> <duration s> <word> <confidence>` lines.

        A word lasts from the frame of its first token to that of its last; its confidence is the
        geometric mean of their probabilities.
        """
        name = self.name.replace(" ", "_")
        tokens = [
            token
            for segment in self.segments
            for token in zip(segment.tokens, segment.timestamps, segment.token_logprobs)
        ]
        lines = []
        for word, own in _words(tokens):
            start, last = own[0][1], own[-1][1]
            duration = last - start + FRAME_MS / 1000
            confidence = math.exp(sum(logprob for _, _, logprob in own) / len(own))
            lines.append(f"{name} 1 {start:.2f} {duration:.2f} {word} {confidence:.3f}")
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


Token = tuple[str, float, float]  # piece, seconds, log-probability


def _words(tokens: list[Token]) -> list[tuple[str, list[Token]]]:
    """Each word with its tokens; a boundary that is a token of its own belongs to none."""
    places = [float(i) for i in range(len(tokens))]
    found, begin = [], 0
    for word in timed_words([piece for piece, _, _ in tokens], places):
        end = int(word.seconds) + 1
        found.append((word.word, [t for t in tokens[begin:end] if t[0] != WORD_BOUNDARY]))
        begin = end
    return found
