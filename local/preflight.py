"""What can be wrong with a call of run.sh, found before data is made or anything trained.

    python -m local.preflight --stage 1 --stop_stage 7 --sets test --backend local ...

The other options are those of `espnet_local.bin.train`. A pretrained encoder that has to be
downloaded first is named on stdout. The corpus is the matter of
`python -m local.corpora --check`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from espnet_local.bin.train import parser as training_parser
from espnet_local.bin.train import training_options
from espnet_local.cli import log_to_stderr, recipe_call, run
from espnet_local.config import nearest
from espnet_local.decode.plan import finished_substages, load_decode_spec
from espnet_local.encoder.pretrained.cache import check_name, is_cached, is_downloadable
from espnet_local.stamp import STAMP_NAME
from espnet_local.training.espnet_check import check_with_espnet
from espnet_local.training.plan import PRETRAINED, Plan, check_parents
from espnet_local.training.setup import load_configs, make_setup
from local.backends.cluster import SCHEDULERS
from local.backends.site import read_site
from local.corpora.utterance import SETS
from local.gpus import visible_gpus

TRAINING, DECODING, SCORING = range(1, 6), 6, 7  # stages of run.sh


def main(arguments: list[str] | None = None) -> None:
    """Parses the options and checks them.

    Raises:
        ValueError: for the first mistake.
    """
    options = _parser().parse_args(arguments)
    log_to_stderr()
    if options.backend == "local" and options.ngpu > (count := len(visible_gpus())):
        raise ValueError(f"--ngpu {options.ngpu}: this machine has {count} GPUs")
    if options.backend in SCHEDULERS:
        scheduler = SCHEDULERS[options.backend]
        read_site(options.backend_config or Path(scheduler.default_config), scheduler.program)
    stages = range(options.stage, options.stop_stage + 1)
    if options.dry_run:
        _check_training(options, [stage for stage in stages if stage in TRAINING])
        return
    _check_sets(options, stages)
    if DECODING in stages:
        load_decode_spec(options.decode_config)
    trained = _check_training(options, [stage for stage in stages if stage in TRAINING])
    if DECODING in stages and not trained and not finished_substages(options.expdir):
        raise ValueError(
            f"{options.expdir}: no finished sub-stage to decode; train first "
            f"({recipe_call()} --stop_stage 5)"
        )


def _check_sets(options: argparse.Namespace, stages: range) -> None:
    for name in options.sets:
        # A corpus makes three sets; a user may have put others beside them.
        if name not in SETS and not (options.data / name / "wav.scp").exists():
            raise ValueError(
                f"--sets must be among {', '.join(SETS)}, got {name!r}{nearest(name, SETS)}"
            )
        decoded = options.expdir.glob(f"stage*/decode_*/{name}/{STAMP_NAME}")
        if SCORING in stages and DECODING not in stages and not any(decoded):
            raise ValueError(
                f"{options.expdir}: set {name!r} is not decoded; run stage 6 first "
                f"({recipe_call()} --stage 6)"
            )


def _check_training(options: argparse.Namespace, stages: list[int]) -> list[str]:
    """Checks what is to be trained and returns the names of the sub-stages."""
    if not stages:
        return []
    configs = load_configs(options.conf, options.size, options.corpus, options.plan)
    chosen: list[str] = []
    for stage in stages:
        for name in configs.plan.chosen(stage, options.substage):
            if not options.dry_run:
                check_parents(configs.plan, name, options.expdir, chosen)
            chosen.append(name)
    training = training_options(options)
    setups = [make_setup(configs.plan, name, configs.size, None, training) for name in chosen]
    if not options.makes_pretrained and not options.dry_run:
        begins = {s.options.pretrained for s in setups if _is_first(configs.plan, s.substage)}
        _check_pretrained(begins - {None})
    check_with_espnet(setups, configs.size.files)
    return chosen


def _is_first(plan: Plan, substage: str) -> bool:
    return plan.substages[substage].parent == PRETRAINED


def _check_pretrained(names: set[str]) -> None:
    """Says on stdout what is to be downloaded."""
    for name in sorted(names):
        check_name(name)
        if is_downloadable(name) and not is_cached(name):
            print(name)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser()
    parser.description = (__doc__ or "").partition("\n")[0]
    add = parser.add_argument
    add("--stop_stage", type=int, required=True, help="-1..7, as --stage")
    add("--sets", nargs="+", required=True, help="to be decoded")
    add("--backend", default="local", help="where jobs run; the GPUs of other places are not known")
    add("--backend_config", type=Path, help="its configuration; the one in conf/ when left out")
    add("--makes_pretrained", action="store_true", help="the pretrained weights are to be made yet")
    add("--dry_run", action="store_true", help="nothing will be trained: no parent is needed")
    add("--decode_config", type=Path, default=Path("conf/decode.yaml"))
    return parser


if __name__ == "__main__":
    run(main)
