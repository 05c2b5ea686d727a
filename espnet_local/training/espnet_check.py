"""A size's config held against ESPnet, before anything is written or trained.

ESPnet reads its keys with `argparse`, which finds mistakes late, or never: values that YAML did not
leave as text are taken as they are. Importing ESPnet takes ten seconds, so a config that training
has begun with before is believed.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import logging
from collections.abc import Sequence
from typing import Any

import yaml

from espnet_local.config import from_mapping, nearest
from espnet_local.files import write_text
from espnet_local.training.setup import Setup

log = logging.getLogger(__name__)

CONFIG_NAME = "espnet.yaml"  # what ESPnet was called with, in a sub-stage's folder


def check_with_espnet(setups: Sequence[Setup], files: str) -> None:
    """Finds keys and values that ESPnet, the optimiser or the model will not take.

    Args:
        setups: the sub-stages to be trained.
        files: where their config stands, for messages.

    Raises:
        ValueError: naming files and key, with the nearest known one where it is unknown.
    """
    new = [setup for setup in setups if not _was_accepted(setup)]
    if not new:
        return
    log.info("%s: checking against ESPnet, some ten seconds", files)
    # ESPnet's dependencies talk while they are imported.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        from espnet_local.task import XlsrTransducerTask

        parser = XlsrTransducerTask.get_parser()
    try:
        for setup in new:
            check_config(setup.espnet, parser)
    except ValueError as error:
        raise ValueError(f"{files}: {error}") from None


def write_config(setup: Setup, config: dict[str, Any]) -> str:
    """Writes the complete config into the sub-stage's folder and returns the file's name."""
    path = setup.folder / CONFIG_NAME
    write_text(path, yaml.safe_dump(config, sort_keys=False))
    return str(path)


def _was_accepted(setup: Setup) -> bool:
    """Whether training began with the same values before: it begins only after the check."""
    path = setup.folder / CONFIG_NAME
    if not path.exists():
        return False
    begun_with = yaml.safe_load(path.read_text(encoding="utf-8"))
    return all(key in begun_with and begun_with[key] == v for key, v in setup.espnet.items())


def check_config(config: dict[str, Any], parser: argparse.ArgumentParser) -> None:
    """The check itself.

    Raises:
        ValueError: naming the key.
    """
    from espnet_local.transducer.predictor import PredictorSpec
    from espnet_local.transducer.spec import TransducerSpec

    actions = {action.dest: action for action in parser._actions}
    for key, value in config.items():
        if key not in actions:
            raise ValueError(f"unknown key {key!r}{nearest(key, actions)}")
        _check_value(actions[key], value)
    from_mapping(PredictorSpec, config.get("decoder_conf"), "decoder_conf")
    from_mapping(TransducerSpec, config.get("model_conf"), "model_conf")
    _check_optimiser(config)


def _check_value(action: argparse.Action, value: object) -> None:
    """A value as if it had been typed: ESPnet's own type must take its text."""
    if isinstance(value, (dict, list)) or not callable(action.type):
        return
    try:
        converted = action.type("none" if value is None else str(value))
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        if value is None and action.default is None:
            return
        kind = getattr(action.type, "__name__", "value").removesuffix("_or_none")
        raise ValueError(f"{action.dest} must be of type {kind}, got {value!r}") from None
    if converted is not None and action.choices is not None and converted not in action.choices:
        known = [str(choice) for choice in action.choices]
        raise ValueError(
            f"{action.dest} must be one of {', '.join(known)}, "
            f"got {value!r}{nearest(str(value), known)}"
        )


def _check_optimiser(config: dict[str, Any]) -> None:
    """Makes the optimiser, of one weight."""
    import torch
    from espnet2.tasks.abs_task import optim_classes

    name = str(config.get("optim")).lower()
    if name not in optim_classes:
        raise ValueError(f"optim must be one of {', '.join(optim_classes)}, got {name!r}")
    optimiser = optim_classes[name]
    options = set(inspect.signature(optimiser).parameters) - {"params"}
    for key in config["optim_conf"]:
        if key not in options:
            raise ValueError(f"optim_conf: unknown key {key!r}{nearest(key, options)}")
    try:
        optimiser([torch.nn.Parameter(torch.zeros(1))], **config["optim_conf"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"optim_conf: {name} does not take it: {error}") from None
