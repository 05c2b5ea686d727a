"""Joiner, from frame and prediction to logits: `lin_out(tanh(lin_enc(x) + lin_dec(y)))`.

Graves, "Sequence transduction with recurrent neural networks", 2012, in the common additive form;
names of weights and `forward` as in ESPnet's `JointNetwork`, so that each loads and stands in for
the other.

B batch, T frames, U label positions, E encoder width, D predictor width, J joint width, V labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinerSpec:
    """The size of a joiner."""

    dim: int = 256  # joint width

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim must be >= 1, got {self.dim}")


class Joiner(nn.Module):
    """Joins frames and predictions; searches project each of both once and call `output` alone."""

    def __init__(
        self, vocab_size: int, encoder_dim: int, predictor_dim: int, spec: JoinerSpec
    ) -> None:
        super().__init__()
        self.spec = spec
        self.lin_enc = nn.Linear(encoder_dim, spec.dim)
        self.lin_dec = nn.Linear(predictor_dim, spec.dim)
        self.lin_out = nn.Linear(spec.dim, vocab_size)

    def forward(self, enc_out: Tensor, dec_out: Tensor, no_projection: bool = False) -> Tensor:
        """Logits of frames and predictions whose leading axes broadcast.

        Args:
            enc_out: frames, for the whole lattice (B, T, 1, E).
            dec_out: predictions, for the whole lattice (B, 1, U, D).
            no_projection: both are projected already, to (..., J).

        Returns:
            Logits, for the whole lattice (B, T, U, V).
        """
        if no_projection:
            return self.output(enc_out + dec_out)
        return self.output(self.project_encoder(enc_out) + self.project_predictor(dec_out))

    def project_encoder(self, frames: Tensor) -> Tensor:
        """(..., E) -> (..., J)"""
        return self.lin_enc(frames)

    def project_predictor(self, predictions: Tensor) -> Tensor:
        """(..., D) -> (..., J)"""
        return self.lin_dec(predictions)

    def output(self, joint: Tensor) -> Tensor:
        """Logits of a projected frame plus a projected prediction. (..., J) -> (..., V)"""
        return self.lin_out(torch.tanh(joint))
