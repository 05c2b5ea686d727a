"""Trains the sub-stages of one stage: `python -m espnet_local.bin.train --stage 2 ...`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Literal

from espnet_local.cli import log_to_stderr, run
from espnet_local.config import BEST_CHECKPOINT
from espnet_local.stamp import is_done, read_stamp
from espnet_local.training.espnet_check import check_with_espnet
from espnet_local.training.plan import find_parent
from espnet_local.training.setup import Setup, TrainingOptions, load_configs, make_setup

log = logging.getLogger(__name__)


def main() -> None:
    """Parses the options and trains what is not done."""
    options = parser().parse_args()
    log_to_stderr()
    configs = load_configs(options.conf, options.size, options.corpus, options.plan)
    training = training_options(options)
    setups = []
    for substage in configs.plan.chosen(options.stage, options.substage):
        parent = find_parent(configs.plan, substage, options.expdir)
        setups.append(make_setup(configs.plan, substage, configs.size, parent, training))
    waiting = [setup for setup in setups if not _is_trained(setup)]
    if options.pending:
        print("".join(f"{setup.substage}\n" for setup in waiting), end="")
        return
    check_with_espnet(waiting, configs.size.files)
    for setup in waiting:
        _train(setup)


def _is_trained(setup: Setup) -> bool:
    complete = (setup.folder / BEST_CHECKPOINT).exists()
    if not complete or not is_done(setup.folder, setup.fingerprint()):
        return False
    wer = (read_stamp(setup.folder) or {})["valid_wer"]
    log.info("sub-stage %s: unchanged, skipped; validation WER %.1f %%", setup.substage, wer)
    return True


def _train(setup: Setup) -> None:
    name = f"sub-stage {setup.substage}"
    origin = f"from {setup.parent.name}" if setup.parent else "from the pretrained encoder"
    if setup.parent is None and setup.options.pretrained is None:
        origin = "from random weights"
    say("progress", f"{name} begins {origin}")
    from espnet_local.training.run import train_substage

    result = train_substage(setup, lambda line: say("progress", f"{name}: {line}"))
    say(
        "result",
        f"{name}: validation loss {result.loss:.2f}, WER {result.wer:.1f} % (epoch {result.epoch})",
    )


def say(kind: Literal["progress", "result"], line: str) -> None:
    """A line for the terminal: the job runner finds it in the log by its prefix and shows it."""
    print(f"{kind}: {line}", file=sys.stderr, flush=True)


def training_options(options: argparse.Namespace) -> TrainingOptions:
    """What of the options shapes training."""
    return TrainingOptions(
        data=options.data,
        tokens=options.tokens,
        expdir=options.expdir,
        ngpu=options.ngpu,
        seed=options.seed,
        debug=options.debug,
        pretrained=options.pretrained,
        trust_pickle=options.trust_pickle,
    )


def parser() -> argparse.ArgumentParser:
    """The options; those of `local.preflight` build on them."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--stage", type=int, required=True, help="1..5")
    add("--substage", help="train these sub-stages only, e.g. 2b or 2a,2b")
    add("--data", type=Path, required=True, help="data/<corpus>")
    add("--tokens", type=Path, required=True, help="token list folder")
    add("--expdir", type=Path, required=True, help="exp/<tag>")
    add("--corpus", default="mini", help="whose overrides in egs/ are read")
    add("--size", default="tiny", help="conf/<size>.yaml")
    add("--conf", type=Path, default=Path("conf"), help="folder of the configs")
    add("--plan", type=Path, default=Path("conf/stages.yaml"))
    add("--ngpu", type=int, default=0)
    add("--seed", type=int, default=0)
    add("--pretrained", help="checkpoint, folder, Hugging Face id or bundle for stage 1")
    add("--trust_pickle", action="store_true", help="it may execute what it holds")
    add("--debug", action="store_true", help="one epoch of a few batches")
    add("--pending", action="store_true", help="only name the sub-stages that are not done")
    return parser


if __name__ == "__main__":
    run(main)
