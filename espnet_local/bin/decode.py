"""Decodes data sets with every finished sub-stage of an experiment.

    python -m espnet_local.bin.decode --expdir exp/mini_tiny --data data/mini --sets test

With --shard I/N one of N jobs, with --merge N their results joined, with neither all of it at once;
--pending finds mistakes before jobs are started, and whether there is anything to do.
"""

from __future__ import annotations

import argparse
import logging
import sys
from itertools import groupby
from pathlib import Path

from espnet_local.cli import log_to_stderr, run
from espnet_local.decode.output import merge_shards
from espnet_local.decode.plan import (
    DecodeSpec,
    DecodeTask,
    Shard,
    finished_substages,
    load_decode_spec,
    plan_tasks,
)
from espnet_local.lineage import stale_lines

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Parses the options; decodes and merges what is not done."""
    options = _parser().parse_args(arguments)
    log_to_stderr(logging.DEBUG if options.debug else logging.INFO)
    shard = Shard.parse(options.shard)
    if options.merge is not None and options.merge < 1:
        raise ValueError(f"merge must be >= 1, got {options.merge}")
    spec = load_decode_spec(options.config)
    only = options.substages.split(",") if options.substages else None
    tasks = plan_tasks(options.expdir, options.data, options.sets, spec, only)
    waiting = [task for task in tasks if not task.is_merged()]
    if skipped := len(tasks) - len(waiting):
        log.info("%d of %d decodings unchanged, skipped", skipped, len(tasks))
    if options.merge is None and shard.count == 1:
        for line in stale_lines(finished_substages(options.expdir)):
            log.warning("%s", line)
    if options.pending:
        print("".join(f"{task.folder}\n" for task in waiting), end="")
        return
    if options.merge is None:
        _decode([t for t in waiting if not t.is_shard_done(shard)], shard, spec, options.device)
    if options.merge is not None or shard.count == 1:
        for task in waiting:
            merge_shards(task, options.merge or 1)


def _decode(tasks: list[DecodeTask], shard: Shard, spec: DecodeSpec, device_name: str) -> None:
    if not tasks:
        return
    # torch takes seconds to import; a run with nothing to do does not.
    from espnet_local.decode.device import make_device
    from espnet_local.decode.model import load_model
    from espnet_local.decode.runner import decode_shard

    device = make_device(device_name)
    for stage_dir, group in groupby(tasks, key=lambda task: task.stage_dir):
        loaded = load_model(stage_dir, spec.checkpoint)
        loaded.model.to(device).eval()
        decode_shard(loaded, group, shard, spec, _progress)


def _progress(line: str) -> None:
    print(f"progress: {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--expdir", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--data", type=Path, required=True, help="data/<corpus>")
    parser.add_argument("--sets", nargs="+", required=True, help="folders in it, e.g. test")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--shard", default="1/1", help="I/N: decode one of N jobs' utterances")
    part.add_argument("--merge", type=int, help="N: join the N shards")
    part.add_argument("--pending", action="store_true", help="only name what is not decoded")
    parser.add_argument("--substages", help="these only, e.g. 1,5b; default: all finished")
    parser.add_argument("--config", type=Path, default=Path("conf/decode.yaml"))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--debug", action="store_true", help="log every hypothesis")
    return parser


if __name__ == "__main__":
    run(main)
