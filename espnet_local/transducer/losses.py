"""Transducer losses behind one interface: -log P(targets | frames), summed over all alignments.

Graves, "Sequence transduction with recurrent neural networks", 2012. A loss is called as

    loss(logits, targets, logit_lengths, target_lengths, blank) -> losses

with raw logits (no softmax) of any float type, and gives one loss an utterance in nats, float32;
the caller reduces. Padding, in frames or labels, changes nothing.

B batch, T frames, U labels, V vocabulary with blank.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

TransducerLoss = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
LossName = Literal["auto", "torchaudio", "numba", "warp_rnnt"]

WARP_RNNT_INSTALL = "pip install --no-build-isolation warp_rnnt"
# Both backends index the lattice with 32 bits and read elsewhere beyond it (pytorch/audio #3736,
# #4215).
MAX_ELEMENTS = 2**31 - 1

log = logging.getLogger(__name__)


def make_loss(name: LossName) -> TransducerLoss:
    """The loss of this name.

    Args:
        name: `torchaudio`, `warp_rnnt` (CUDA only), or `auto`: warp_rnnt for logits on CUDA
            when it is installed, torchaudio otherwise.

    Raises:
        ValueError: for an unknown name, and for warp_rnnt without its package or without CUDA.
    """
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    return LOSSES[name]()


def _make_torchaudio() -> TransducerLoss:
    from torchaudio.functional import rnnt_loss

    def loss(
        logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int
    ) -> Tensor:
        logits, targets = _checked(logits, targets, logit_lengths, target_lengths, blank)
        return rnnt_loss(
            logits.float().contiguous(),
            targets.int().contiguous(),
            logit_lengths.int(),
            target_lengths.int(),
            blank=blank,
            reduction="none",
        )

    return loss


def _make_numba() -> TransducerLoss:
    # numba takes a second to import, and only this loss needs it.
    from espnet_local.transducer.lattice import LatticeLoss

    def loss(
        logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int
    ) -> Tensor:
        if logits.device.type != "cpu":
            raise ValueError(f"loss numba needs logits on the CPU, got them on {logits.device}")
        logits, targets = _checked(logits, targets, logit_lengths, target_lengths, blank)
        return LatticeLoss.apply(logits.float(), targets, logit_lengths, target_lengths, blank)

    return loss


def _make_warp_rnnt() -> TransducerLoss:
    warp_rnnt = _import_warp_rnnt()
    if not torch.cuda.is_available():
        raise ValueError("loss warp_rnnt needs a CUDA device, and there is none; use torchaudio")

    def loss(
        logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int
    ) -> Tensor:
        if logits.device.type != "cuda":
            raise ValueError(f"loss warp_rnnt needs logits on CUDA, got them on {logits.device}")
        return _warp_rnnt_loss(warp_rnnt, logits, targets, logit_lengths, target_lengths, blank)

    return loss


def _warp_rnnt_loss(
    warp_rnnt: ModuleType,
    logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
) -> Tensor:
    logits, targets = _checked(logits, targets, logit_lengths, target_lengths, blank)
    return warp_rnnt.rnnt_loss(
        logits.float().log_softmax(dim=-1),
        targets.int().contiguous(),
        logit_lengths.int(),
        target_lengths.int(),
        reduction="none",
        blank=blank,
        gather=True,  # keeps two log-probabilities a lattice node, not V, for its gradient
    )


def _make_auto() -> TransducerLoss:
    """Chosen by where the logits are, as one process may train on CUDA and be tested on the CPU."""
    cpu_loss, cuda_loss = _make_numba(), _make_torchaudio()
    name, reason = "numba on the CPU", "no CUDA device"
    if torch.cuda.is_available():
        try:
            cuda_loss = _make_warp_rnnt()
            name, reason = "warp_rnnt on CUDA", "CUDA and warp_rnnt present"
        except ValueError as error:
            name, reason = "torchaudio on CUDA", str(error)
    log.info("transducer loss auto: %s (%s)", name, reason)

    def loss(
        logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int
    ) -> Tensor:
        chosen = cuda_loss if logits.device.type == "cuda" else cpu_loss
        return chosen(logits, targets, logit_lengths, target_lengths, blank)

    return loss


def _import_warp_rnnt() -> ModuleType:
    try:
        return importlib.import_module("warp_rnnt")
    except ModuleNotFoundError as error:
        if error.name != "warp_rnnt":
            raise ValueError(f"warp_rnnt is installed but needs {error.name}: {error}") from error
        raise ValueError(
            f"loss warp_rnnt asked for, but not installed: {WARP_RNNT_INSTALL} (compiles with nvcc)"
        ) from None
    except (ImportError, OSError) as error:
        raise ValueError(
            f"warp_rnnt is installed but does not load ({error}); "
            f"build it again: {WARP_RNNT_INSTALL}"
        ) from error


def _checked(
    logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Logits and targets cut to the longest utterance, as torchaudio insists on; padding is blank.

    The backends check next to nothing: a label out of range or an utterance without frames gives
    them a number that means nothing.

    Raises:
        ValueError: for shapes, lengths, labels or a lattice out of bounds.
    """
    if logits.dim() != 4 or 0 in logits.shape:
        raise ValueError(
            "logits must have the shape (B, T, U + 1, V), none of them 0, "
            f"got {tuple(logits.shape)}"
        )
    batch, frames, positions, vocab = logits.shape
    if targets.shape != (batch, positions - 1):
        raise ValueError(
            f"targets must have the shape (B, U) = {(batch, positions - 1)} for logits "
            f"(B, T, U + 1, V) = {tuple(logits.shape)}, got {tuple(targets.shape)}"
        )
    if not 0 <= blank < vocab:
        raise ValueError(f"blank must be in [0, {vocab}), got {blank}")
    _check_lengths("logit_lengths", logit_lengths, batch, 1, frames)
    _check_lengths("target_lengths", target_lengths, batch, 0, positions - 1)
    longest, most = int(logit_lengths.max()), int(target_lengths.max())
    if (elements := batch * longest * (most + 1) * vocab) > MAX_ELEMENTS:
        raise ValueError(
            "the lattice B x T x (U + 1) x V = "
            f"{batch} x {longest} x {most + 1} x {vocab} = {elements} must be "
            f"<= {MAX_ELEMENTS} elements: use smaller batches"
        )
    targets = targets[:, :most]
    inside = torch.arange(most, device=targets.device) < target_lengths[:, None].to(targets.device)
    wrong = inside & ((targets < 0) | (targets >= vocab) | (targets == blank))
    if bool(wrong.any()):
        raise ValueError(
            f"targets must be in [0, {vocab}) and not blank ({blank}), got {int(targets[wrong][0])}"
        )
    return logits[:, :longest, : most + 1], targets.where(inside, blank)


def _check_lengths(name: str, lengths: Tensor, batch: int, low: int, high: int) -> None:
    if lengths.shape != (batch,):
        raise ValueError(f"{name} must have the shape {(batch,)}, got {tuple(lengths.shape)}")
    if not low <= int(lengths.min()) <= int(lengths.max()) <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {lengths.tolist()}")


LOSSES: dict[str, Callable[[], TransducerLoss]] = {
    "auto": _make_auto,
    "torchaudio": _make_torchaudio,
    "numba": _make_numba,
    "warp_rnnt": _make_warp_rnnt,
}
