"""Tokens: SentencePiece pieces numbered by ESPnet's token list. No ESPnet import.

ESPnet's conventions: `<blank>` is 0, `<unk>` is 1, the pieces follow in the model's order, and
`<sos/eos>` is last. Encoding agrees with ESPnet's `SentencepiecesTokenizer` and `TokenIDConverter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

BLANK, UNKNOWN, SOS_EOS = "<blank>", "<unk>", "<sos/eos>"
MODEL_NAME, LIST_NAME = "bpe.model", "tokens.txt"
WORD_BOUNDARY = "▁"


class Tokenizer:
    """Text to token numbers and back.

    Args:
        model: a SentencePiece model in its serialised form.
        tokens: the token list, blank first.
        name: for messages.

    Raises:
        ValueError: when the list breaks ESPnet's conventions or is not that of the model.
    """

    blank_id = 0
    unknown_id = 1

    def __init__(self, model: bytes, tokens: Sequence[str], name: str = "token list") -> None:
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise ValueError(f"{name}: not a SentencePiece model") from None
        self.tokens = tuple(tokens)
        _check_list(self.tokens, token_list(self._processor), name)
        ids = {token: number for number, token in enumerate(self.tokens)}
        # By the model's own numbers; its control pieces never come up.
        self._ids = [
            ids.get(self._processor.id_to_piece(number), self.unknown_id)
            for number in range(self._processor.get_piece_size())
        ]

    @classmethod
    def from_dir(cls, folder: str | Path) -> Tokenizer:
        """Reads `bpe.model` and `tokens.txt` of a folder."""
        return cls.from_files(Path(folder) / MODEL_NAME, read_token_list(Path(folder) / LIST_NAME))

    @classmethod
    def from_files(cls, bpe_model: str | Path, tokens: Sequence[str]) -> Tokenizer:
        """Reads a SentencePiece model; the token list comes from elsewhere (a model's config)."""
        return cls(Path(bpe_model).read_bytes(), tokens, str(bpe_model))

    @property
    def sos_eos_id(self) -> int:
        """The number of `<sos/eos>`, the last."""
        return len(self.tokens) - 1

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text; `unknown_id` for characters the model never saw."""
        return [self._ids[number] for number in self._processor.encode(text, out_type=int)]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """As `encode`, for many texts at half the cost."""
        # One thread: others would cost more than they bring for texts of a line.
        found = self._processor.encode(texts, out_type=int, num_threads=1)
        return [[self._ids[number] for number in numbers] for numbers in found]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token numbers, see `pieces_to_text`.

        Raises:
            ValueError: for a number outside the list.
        """
        pieces = []
        for number in ids:
            if not 0 <= number < len(self.tokens):
                raise ValueError(f"token must be in 0..{self.sos_eos_id}, got {number}")
            pieces.append(self.tokens[number])
        return pieces_to_text(pieces)


def pieces_to_text(pieces: Iterable[str]) -> str:
    """Joins pieces into words; blank and sos/eos stand for nothing, `<unk>` stands for itself."""
    joined = "".join(piece for piece in pieces if piece not in (BLANK, SOS_EOS))
    return " ".join(joined.replace(WORD_BOUNDARY, " ").split())


def token_list(processor: sentencepiece.SentencePieceProcessor) -> tuple[str, ...]:
    """ESPnet's token list of a SentencePiece model."""
    pieces = (
        processor.id_to_piece(number)
        for number in range(processor.get_piece_size())
        if not processor.is_control(number) and not processor.is_unknown(number)
    )
    return (BLANK, UNKNOWN, *pieces, SOS_EOS)


def read_token_list(path: str | Path) -> list[str]:
    """A token list, one token a line."""
    # Not splitlines(): a token may be a character that it takes for the end of a line.
    return Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _check_list(tokens: tuple[str, ...], expected: tuple[str, ...], name: str) -> None:
    for number in (0, 1, -1):
        if not tokens or tokens[number] != expected[number]:
            got = repr(tokens[number]) if tokens else "an empty list"
            raise ValueError(f"{name}: token {number} must be {expected[number]!r}, got {got}")
    if tokens != expected:
        raise ValueError(
            f"{name}: the token list ({len(tokens)} tokens) is not that of the "
            f"SentencePiece model ({len(expected)} tokens)"
        )
