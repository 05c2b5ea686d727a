"""Trains the sub-stages of one stage: `python -m espnet_local.bin.train --stage 2 ...`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Literal

from espnet_local.cli import log_to_stderr, run
from espnet_local.config import BEST_CHECKPOINT, nearest
from espnet_local.stamp import is_done, read_stamp
from espnet_local.training.plan import Plan, find_parent, load_plan, stage_of
from espnet_local.training.setup import Setup, TrainingOptions, load_size, make_setup

log = logging.getLogger(__name__)


def main() -> None:
    """Parses the options and trains what is not done."""
    options = _parser().parse_args()
    log_to_stderr()
    corpus_conf = Path("egs/xlsr_transducer") / options.corpus / "conf"
    plan = load_plan(options.plan, _if_there(corpus_conf / "stages.yaml"))
    size_config, recipe = load_size(
        options.conf / f"{options.size}.yaml", _if_there(corpus_conf / f"{options.size}.yaml")
    )
    training = TrainingOptions(
        data=options.data,
        tokens=options.tokens,
        expdir=options.expdir,
        ngpu=options.ngpu,
        seed=options.seed,
        debug=options.debug,
        pretrained=options.pretrained,
    )
    for substage in _chosen(plan, options.stage, options.substage):
        # Parents are looked up one by one: a sub-stage may have to wait for one of this loop.
        parent = find_parent(plan, substage, options.expdir)
        setup = make_setup(plan, substage, size_config, recipe, parent, training)
        _train_unless_done(setup)


def _train_unless_done(setup: Setup) -> None:
    name = f"sub-stage {setup.substage}"
    complete = (setup.folder / BEST_CHECKPOINT).exists()
    if complete and is_done(setup.folder, setup.fingerprint()):
        stamp = read_stamp(setup.folder) or {}
        _say("result", f"{name}: unchanged, skipped; validation WER {stamp['valid_wer']:.1f} %")
        return
    origin = f"from {setup.parent.name}" if setup.parent else "from the pretrained encoder"
    if setup.parent is None and setup.options.pretrained is None:
        origin = "from random weights"
    _say("progress", f"{name} begins {origin}")
    from espnet_local.training.run import train_substage

    result = train_substage(setup, lambda line: _say("progress", f"{name}: {line}"))
    _say(
        "result",
        f"{name}: validation loss {result.loss:.2f}, WER {result.wer:.1f} % (epoch {result.epoch})",
    )


def _say(kind: Literal["progress", "result"], line: str) -> None:
    """The job runner finds these lines by their prefix and shows them on the terminal."""
    print(f"{kind}: {line}", file=sys.stderr, flush=True)


def _chosen(plan: Plan, stage: int, only: str | None) -> list[str]:
    names = plan.of_stage(stage)
    if not names:
        raise ValueError(f"stage must be 1..5 and have sub-stages, got {stage}")
    if only is None:
        return names
    wanted = only.split(",")
    for name in wanted:
        if name not in plan.substages:
            raise ValueError(f"unknown sub-stage {name!r}{nearest(name, plan.substages)}")
    chosen = [name for name in wanted if stage_of(name) == stage]
    if not chosen:
        log.info("stage %d: no sub-stage of it among %s, skipped", stage, only)
    return chosen


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--stage", type=int, required=True, help="1..5")
    parser.add_argument("--substage", help="train these sub-stages only, e.g. 2b or 2a,2b")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>")
    parser.add_argument("--tokens", type=Path, required=True, help="token list folder")
    parser.add_argument("--expdir", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--corpus", default="mini", help="whose overrides in egs/ are read")
    parser.add_argument("--size", default="tiny", help="conf/<size>.yaml")
    parser.add_argument("--conf", type=Path, default=Path("conf"), help="folder of the configs")
    parser.add_argument("--plan", type=Path, default=Path("conf/stages.yaml"))
    parser.add_argument("--ngpu", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrained", type=Path, help="checkpoint that stage 1 starts from")
    parser.add_argument("--debug", action="store_true", help="one epoch of a few batches")
    return parser


if __name__ == "__main__":
    run(main)
