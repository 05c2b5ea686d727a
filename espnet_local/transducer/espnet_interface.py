"""What ESPnet's `BeamSearchTransducer` asks of a decoder, for a stateless predictor.

Methods and attributes as in `espnet2.asr.decoder.transducer_decoder.TransducerDecoder`; ESPnet
itself is not imported. A state is the last labels, (B, C) int64, blank before the first: a value,
the batch on axis 0.

B hypotheses, C context labels, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from espnet_local.transducer.predictor import StatelessPredictor


class EspnetHypothesis(Protocol):
    """The one field of ESPnet's hypotheses that is read: labels so far, blank first."""

    yseq: list[int]


class EspnetSearchMixin(StatelessPredictor):
    """A predictor that ESPnet's greedy, default, tsd, alsd, nsc and maes searches can drive.

    The searches hand over the state from before a hypothesis's last label. The state is not needed:
    the labels are in the hypothesis. The cache therefore goes by the last labels only, so that it
    stays small and is shared by all hypotheses that end alike.
    """

    dlayers = 1

    @property
    def dunits(self) -> int:
        """Width of the predictions."""
        return self.spec.dim

    @property
    def odim(self) -> int:
        """Number of labels, blank included."""
        return self.vocab_size

    @property
    def blank_id(self) -> int:
        """Label of blank."""
        return self.blank

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed.weight.device

    def set_device(self, device: torch.device) -> None:
        """Part of ESPnet's interface; nothing to do, as states are made where the weights are."""

    def init_state(self, batch_size: int) -> Tensor:
        """States before the first label. (B, C)"""
        return self.initial(batch_size, self.device)

    def select_state(self, states: Tensor, idx: int) -> Tensor:
        """The state of one hypothesis. (B, C) -> (1, C)"""
        return states[idx : idx + 1]

    def create_batch_states(
        self,
        states: Tensor,
        new_states: Sequence[Tensor],
        check_list: Sequence[Any] | None = None,
    ) -> Tensor:
        """The states of several hypotheses as one. B x (1, C) -> (B, C)

        `states`, the value before, and `check_list` are part of ESPnet's interface and not used.
        """
        return torch.cat(list(new_states))

    def score(self, hyp: EspnetHypothesis, cache: dict[Any, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """The prediction after a hypothesis.

        Returns:
            prediction (D,), state after its last label (1, C), its last label for a language model
            (1,).
        """
        predictions, states, labels = self.batch_score([hyp], self.init_state(1), cache, True)
        assert labels is not None
        return predictions[0], states, labels[0]

    def batch_score(
        self,
        hyps: Sequence[EspnetHypothesis],
        dec_states: Tensor,
        cache: dict[Any, Any],
        use_lm: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The predictions after several hypotheses.

        Returns:
            predictions (B, D), states after their last labels (B, C), last labels for a language
            model (B, 1) or None when not asked for.
        """
        keys = [self._last_labels(hyp.yseq) for hyp in hyps]
        states = torch.tensor(keys, dtype=torch.long, device=self.device)
        missing = [i for i, key in enumerate(keys) if key not in cache]
        if missing:
            for i, prediction in zip(missing, self.step(states[missing])):
                cache[keys[i]] = prediction
        predictions = torch.stack([cache[key] for key in keys])
        return predictions, states, states[:, -1:] if use_lm else None

    def _last_labels(self, labels: Sequence[int]) -> tuple[int, ...]:
        context = self.spec.context
        return tuple(([self.blank] * context + list(labels))[-context:])
