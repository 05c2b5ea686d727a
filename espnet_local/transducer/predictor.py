"""Stateless predictor: an embedding and a causal depthwise convolution over the last labels.

Ghodsi et al., "RNN-Transducer with stateless prediction network", ICASSP 2020: a predictor that
sees only the last labels does as well as a recurrent one, and its state is nothing but those
labels.

B batch, U label positions, C context labels, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorSpec:
    """The size of a stateless predictor."""

    dim: int
    context: int = 2  # labels seen, the newest included
    dropout: float = 0.0  # on the embeddings, in training only

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim must be >= 1, got {self.dim}")
        if self.context < 1:
            raise ValueError(f"context must be >= 1 label, got {self.context}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


class StatelessPredictor(nn.Module):
    """Predicts from the last `context` labels; blank stands before the first one.

    The embedding of blank is zero and stays zero, so blanks and the zeros of padding are one thing.
    """

    def __init__(self, vocab_size: int, spec: PredictorSpec, blank: int = 0) -> None:
        """
        Args:
            vocab_size: number of labels, blank included.
            spec: width, context, dropout.
            blank: label of blank.

        Raises:
            ValueError: when blank is not a label.
        """
        super().__init__()
        if not 0 <= blank < vocab_size:
            raise ValueError(f"blank must be in [0, {vocab_size}), got {blank}")
        self.spec = spec
        self.vocab_size = vocab_size
        self.blank = blank
        self.embed = nn.Embedding(vocab_size, spec.dim, padding_idx=blank)
        self.dropout = nn.Dropout(spec.dropout)
        self.conv = nn.Conv1d(spec.dim, spec.dim, spec.context, groups=spec.dim, bias=False)

    def forward(self, labels: Tensor) -> Tensor:
        """All positions at once.

        Args:
            labels: `[blank, y1, ..., yU-1]` in each row, int64. (B, U)

        Returns:
            Predictions; position u has seen labels up to u. (B, U, D)
        """
        return self._predict(F.pad(labels, (self.spec.context - 1, 0), value=self.blank))

    def initial(self, batch: int, device: torch.device | str) -> Tensor:
        """The history before the first label: blanks. (B, C) int64"""
        return torch.full((batch, self.spec.context), self.blank, dtype=torch.long, device=device)

    def step(self, history: Tensor) -> Tensor:
        """One position: what `forward` gives where it has seen just these labels last.

        Args:
            history: the last labels, newest last. (B, C)

        Returns:
            Predictions. (B, D)
        """
        return self._predict(history)[:, 0]

    def _predict(self, labels: Tensor) -> Tensor:
        """(B, U + C - 1) -> (B, U, D)"""
        embedded = self.dropout(self.embed(labels)).transpose(1, 2)  # (B, U', D) -> (B, D, U')
        # Without the rectifier, predictor and joiner would be one linear map of single labels.
        return F.relu(self.conv(embedded)).transpose(1, 2)  # (B, D, U) -> (B, U, D)


def push(history: Tensor, labels: Tensor) -> Tensor:
    """Histories with one label more; the oldest falls out.

    Args:
        history: (..., C)
        labels: (...)
    """
    return torch.cat([history[..., 1:], labels.unsqueeze(-1)], dim=-1)
