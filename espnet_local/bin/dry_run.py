"""What training will take: `python -m espnet_local.bin.dry_run --stage 1 --stop_stage 5 ...`.

Builds the model, runs the longest batch of the data forwards and backwards and some others, and
says peak memory and projected time of each stage. The other options are those of
`espnet_local.bin.train`; nothing is trained and nothing stays.
"""

from __future__ import annotations

import platform
from datetime import timedelta

from espnet_local.bin.train import parser as training_parser
from espnet_local.bin.train import say, training_options
from espnet_local.cli import log_to_stderr, run
from espnet_local.training.espnet_check import check_with_espnet
from espnet_local.training.plan import PRETRAINED, Plan
from espnet_local.training.setup import Setup, load_configs, make_setup


def main() -> None:
    """Parses the options and measures stage after stage."""
    parser = training_parser()
    parser.description = (__doc__ or "").partition("\n")[0]
    parser.add_argument("--stop_stage", type=int, required=True, help="1..5")
    options = parser.parse_args()
    log_to_stderr()
    configs = load_configs(options.conf, options.size, options.corpus, options.plan)
    training = training_options(options)
    total_s = 0.0
    for stage in range(max(1, options.stage), min(5, options.stop_stage) + 1):
        setups = [
            make_setup(configs.plan, name, configs.size, None, training)
            for name in configs.plan.chosen(stage, options.substage)
        ]
        if setups:
            check_with_espnet(setups[:1], configs.size.files)
            total_s += _stage_s(stage, setups, configs.plan, first=total_s == 0.0)
    say("result", f"in all {_time(total_s)} of training; data, decoding and start-up come on top")


def _stage_s(stage: int, setups: list[Setup], plan: Plan, first: bool) -> float:
    """Measures a stage's first sub-stage, says what the stage takes and returns it in seconds."""
    say("progress", f"dry run of stage {stage}")
    from espnet_local.training.dry_run import GB, measure, projected_s

    setup = setups[0]
    random = (
        plan.substages[setup.substage].parent == PRETRAINED and setup.options.pretrained is None
    )
    found = measure(setup, from_nothing=random)
    if first:
        longest = found.longest
        say(
            "result",
            f"on {_device(setup)}: the longest batch has {len(longest.keys)} utterances, "
            f"{longest.seconds:.1f} s of padded audio, up to {longest.tokens} tokens",
        )
    stage_s = found.warm_start_s + sum(projected_s(found, each) for each in setups)
    batches = sum(each.espnet["max_epoch"] * each.espnet["num_iters_per_epoch"] for each in setups)
    memory = f"{found.peak_bytes / GB:.1f}"
    memory += f" of {found.total_bytes / GB:.1f} GB" if found.total_bytes else " GB so far"
    warm_start = f" after {_time(found.warm_start_s)} of warm start" if random else ""
    say(
        "result",
        f"stage {stage}: {_time(stage_s)} for {', '.join(each.substage for each in setups)}: "
        f"{batches} batches of {found.batch_seconds:.1f} s, {found.step_s:.3f} s each{warm_start}; "
        f"peak memory {memory}",
    )
    return stage_s


def _device(setup: Setup) -> str:
    import torch

    if setup.options.ngpu:
        return torch.cuda.get_device_name()
    return f"the CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


if __name__ == "__main__":
    run(main)
