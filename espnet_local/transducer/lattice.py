"""The transducer's forward-backward recursion on a CPU, compiled by numba.

Works on two log-probabilities a lattice node, blank and next label. Recursions and gradient after
Graves, "Sequence transduction with recurrent neural networks", 2012, sections 2.4 and 2.5, in
float64.

B batch, T frames, U labels, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor


class LatticeLoss(torch.autograd.Function):
    """-log P of each utterance, with the gradient of its logits in closed form.

    Softmax is part of it: differentiated apart, it and the gathering of two of its values would
    each fill another tensor of the size of the logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        logit_lengths: Tensor,
        target_lengths: Tensor,
        blank: int,
    ) -> Tensor:
        """
        Args:
            logits: (B, T, U + 1, V) float32 on the CPU.
            targets: labels, padded with any label. (B, U)
            logit_lengths: frames of each utterance, at least 1. (B,)
            target_lengths: labels of each utterance. (B,)
            blank: label of blank.

        Returns:
            Losses in nats. (B,) float32
        """
        logprobs = logits.detach().log_softmax(dim=-1)
        labels = targets.long()[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
        next_label = logprobs[:, :, :-1].gather(3, labels)[..., 0]  # (B, T, U)
        losses, blank_gradient, label_gradient = _forward_backward(
            logprobs[..., blank].contiguous().numpy(),
            next_label.numpy(),
            logit_lengths.numpy().astype(np.int64),
            target_lengths.numpy().astype(np.int64),
        )
        ctx.blank = blank
        ctx.save_for_backward(
            logprobs, labels, torch.from_numpy(blank_gradient), torch.from_numpy(label_gradient)
        )
        return torch.from_numpy(losses)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        """(B,) -> the gradient of the logits (B, T, U + 1, V)."""
        logprobs, labels, blank_gradient, label_gradient = ctx.saved_tensors
        scale = upstream[0][:, None, None]
        blank_gradient = blank_gradient * scale  # (B, T, U + 1)
        label_gradient = label_gradient * scale  # (B, T, U)
        passing = blank_gradient + torch.nn.functional.pad(label_gradient, (0, 1))
        # d log softmax: what goes to a chosen value is taken from all in proportion.
        gradient = logprobs.exp().mul_(-passing[..., None])
        gradient[..., ctx.blank] += blank_gradient
        gradient[:, :, :-1].scatter_add_(3, labels, label_gradient[..., None])
        return gradient, None, None, None, None


@numba.njit(cache=True)
def _log_add(a: float, b: float) -> float:
    if a == -np.inf:
        return b
    if b == -np.inf:
        return a
    return max(a, b) + np.log1p(np.exp(-abs(a - b)))


@numba.njit(cache=True)
def _forward_backward(
    blank: np.ndarray, label: np.ndarray, frames: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses (B,) and the gradients of `blank` (B, T, U + 1) and `label` (B, T, U)."""
    losses = np.zeros(len(blank), np.float32)
    blank_gradient, label_gradient = np.zeros_like(blank), np.zeros_like(label)
    for b in range(len(blank)):
        last_t, last_u = frames[b] - 1, labels[b]
        # backward[t, u]: log-probability of all that remains from node (t, u) on.
        backward = np.full((last_t + 1, last_u + 1), -np.inf)
        backward[last_t, last_u] = blank[b, last_t, last_u]
        for t in range(last_t, -1, -1):
            for u in range(last_u, -1, -1):
                if t < last_t:
                    backward[t, u] = backward[t + 1, u] + blank[b, t, u]
                if u < last_u:
                    emit = backward[t, u + 1] + label[b, t, u]
                    backward[t, u] = _log_add(backward[t, u], emit)
        total = backward[0, 0]
        losses[b] = -total
        forward = np.full((last_t + 1, last_u + 1), -np.inf)
        forward[0, 0] = 0.0
        for t in range(last_t + 1):
            for u in range(last_u + 1):
                if t > 0:
                    forward[t, u] = forward[t - 1, u] + blank[b, t - 1, u]
                if u > 0:
                    emit = forward[t, u - 1] + label[b, t, u - 1]
                    forward[t, u] = _log_add(forward[t, u], emit)
                after = 0.0 if t == last_t and u == last_u else -np.inf
                if t < last_t:
                    after = backward[t + 1, u]
                blank_gradient[b, t, u] = -np.exp(forward[t, u] + blank[b, t, u] + after - total)
                if u < last_u:
                    label_gradient[b, t, u] = -np.exp(
                        forward[t, u] + label[b, t, u] + backward[t, u + 1] - total
                    )
    return losses, blank_gradient, label_gradient
