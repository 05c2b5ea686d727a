"""Devices by name."""

from __future__ import annotations

import torch


def make_device(name: str) -> torch.device:
    """A device by name; one that is not there is a `ValueError`."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r}: {str(error).splitlines()[0]}") from None
    return device
