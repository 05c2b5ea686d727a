"""What training will take, measured before it begins: the longest batch, peak memory, time a stage.

Batches of the real data go through ESPnet's own training loop, with random weights, under the
context of each stage's first sub-stage: the longest ones for memory, others, of all lengths, for
time.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import Reporter

from espnet_local.task import ReportingTrainer, XlsrTransducerTask
from espnet_local.training.batches import Batch, Lengths, largest, spread
from espnet_local.training.espnet_check import write_config
from espnet_local.training.run import complete_config, make_warm_start
from espnet_local.training.setup import Setup
from espnet_local.training.spec import WarmStartSpec

TIMED_BATCHES = 8  # spread over the lengths there are
TIMED_VALID_BATCHES = 2
TIMED_WARM_START_STEPS = 10
GB = 1e9


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a stage's first sub-stage takes."""

    longest: Batch
    batch_seconds: float  # padded audio in a batch, on average
    step_s: float  # time a batch: forwards, backwards and its share of an update
    load_s: float  # time to read a batch and prepare it, of one process
    valid_s: float  # time a validation
    warm_start_s: float
    peak_bytes: int
    total_bytes: int | None  # of the GPU


def projected_s(measured: Measured, setup: Setup) -> float:
    """Time that a sub-stage takes, in seconds, if it trains as the measured one does."""
    config = setup.espnet
    workers = max(1, config.get("num_workers", 1))
    # Workers read ahead; without any, reading adds to the step.
    step_s = (
        max(measured.step_s, measured.load_s / workers)
        if config.get("num_workers", 1)
        else measured.step_s + measured.load_s
    )
    epoch_s = config["num_iters_per_epoch"] * step_s + measured.valid_s
    return config["max_epoch"] * epoch_s


def measure(setup: Setup, from_nothing: bool) -> Measured:
    """Measures a sub-stage; needs data and tokens, writes nothing that stays.

    Args:
        setup: the sub-stage; its parent need not be trained.
        from_nothing: whether it begins with random weights, and so with a warm start.

    Raises:
        ValueError: when the longest batch does not fit into the GPU's memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        setup = dataclasses.replace(setup, folder=Path(folder))
        warm_start_s = _warm_start_s(setup) if from_nothing else 0.0
        return _measure(setup, warm_start_s)


def _measure(setup: Setup, warm_start_s: float) -> Measured:
    args = _arguments(setup)
    device = torch.device("cuda" if setup.options.ngpu else "cpu")
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    model = XlsrTransducerTask.build_model(args).to(device)
    # As after the first updates: everything that will ever learn learns.
    model.encoder.train_batches.fill_(model.encoder.spec.thaw_after_batches)
    trainer = _Loop(args, model)
    factory = XlsrTransducerTask.build_iter_factory(args, DistributedOption(), "train")
    lengths = Lengths(setup.options.data, setup.options.tokens)
    batches = [
        lengths.batch(keys[:: max(1, setup.options.ngpu)]) for keys in factory.sampler.batches
    ]
    most = largest(batches)
    slowest = _slowest_speed(args)
    with _all_layers(model):
        # The optimiser's states come with the first update, and stay.
        shortest = min(batches, key=lambda batch: batch.seconds)
        for batch in (shortest, *most):
            data = _stretched(_load(factory, batch), batch, lengths, slowest)
            try:
                trainer.train([data] * args.accum_grad)
            except torch.cuda.OutOfMemoryError:
                raise ValueError(
                    f"a batch of {batch.seconds:.0f} s of audio and {batch.tokens} tokens does not "
                    f"fit into {_gigabytes(_gpu_bytes(device))} of GPU memory; lower batch_bins "
                    f"(now {args.batch_bins}) and raise accum_grad, or set "
                    "encoder_conf.gradient_checkpointing: true"
                ) from None
    peak = _peak_bytes(device)
    chosen = spread(batches, TIMED_BATCHES)
    begin = time.perf_counter()
    loaded = [_load(factory, batch) for batch in chosen]
    load_s = (time.perf_counter() - begin) / len(chosen)
    trainer.train(loaded[:1])  # what a first batch of its shape costs comes once
    return Measured(
        longest=most[0],
        batch_seconds=float(np.mean([batch.seconds for batch in batches])),
        step_s=trainer.train(loaded) / len(chosen),
        load_s=load_s,
        valid_s=_validation_s(args, lengths, trainer),
        warm_start_s=warm_start_s,
        peak_bytes=peak,
        total_bytes=_gpu_bytes(device),
    )


def _arguments(setup: Setup) -> argparse.Namespace:
    config = complete_config(setup)
    config.update(multiprocessing_distributed=False, init_param=[], use_tensorboard=False)
    parser = XlsrTransducerTask.get_parser()
    return parser.parse_args(["--config", write_config(setup, config)])


class _Loop:
    """ESPnet's training loop on batches at hand."""

    def __init__(self, args: argparse.Namespace, model: Any) -> None:
        self._options = ReportingTrainer.build_options(args)
        self._model = model
        self._optimizers = XlsrTransducerTask.build_optimizers(args, model)
        self._scaler = torch.cuda.amp.GradScaler() if args.use_amp else None
        self._reporter = Reporter()
        self._reporter.set_epoch(1)

    def train(self, batches: Sequence[Any]) -> float:
        """Time for these batches, seconds."""
        with self._reporter.observe("train") as reporter:
            return self._timed(
                ReportingTrainer.train_one_epoch,
                batches,
                reporter,
                optimizers=self._optimizers,
                schedulers=[None] * len(self._optimizers),
                scaler=self._scaler,
                summary_writer=None,
            )

    def validate(self, batches: Sequence[Any]) -> float:
        """Time for these batches, seconds."""
        with self._reporter.observe("valid") as reporter:
            return self._timed(ReportingTrainer.validate_one_epoch, batches, reporter)

    def _timed(self, epoch: Any, batches: Sequence[Any], reporter: Any, **others: Any) -> float:
        begin = time.perf_counter()
        epoch(
            model=self._model,
            iterator=batches,
            reporter=reporter,
            options=self._options,
            distributed_option=DistributedOption(),
            **others,
        )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - begin


def _load(factory: SequenceIterFactory, batch: Batch) -> tuple[list[str], dict[str, torch.Tensor]]:
    return factory.collate_fn([factory.dataset[key] for key in batch.keys])


def _stretched(
    data: tuple[list[str], dict[str, torch.Tensor]],
    batch: Batch,
    lengths: Lengths,
    slowest: float,
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """As long as speed perturbation can make it."""
    keys, tensors = data
    samples = [math.ceil(lengths.samples[key] / slowest) for key in batch.keys]
    speech = tensors["speech"]
    longer = torch.nn.functional.pad(speech, (0, max(0, max(samples) - speech.shape[1])))
    return keys, {**tensors, "speech": longer, "speech_lengths": torch.tensor(samples)}


@contextmanager
def _all_layers(model: Any) -> Iterator[None]:
    """No layer is dropped."""
    transformer = model.encoder.encoder.transformer
    before, transformer.layer_drop = transformer.layer_drop, 0.0
    yield
    transformer.layer_drop = before


def _slowest_speed(args: argparse.Namespace) -> float:
    return min([1.0, *_speeds((args.preprocessor_conf or {}).get("data_aug_effects") or [])])


def _speeds(effects: Sequence[Any]) -> Iterator[float]:
    """The factors in ESPnet's list of effects: [weight, name, options], or [weight, [effects]]."""
    for _weight, what, *options in effects:
        if isinstance(what, str):
            if what == "speed_perturb":
                yield options[0]["factor"]
        else:
            yield from _speeds(what)


def _validation_s(args: argparse.Namespace, lengths: Lengths, trainer: _Loop) -> float:
    factory = XlsrTransducerTask.build_iter_factory(args, DistributedOption(), "valid")
    batches = [lengths.batch(keys) for keys in factory.sampler.batches]
    chosen = spread(batches, min(TIMED_VALID_BATCHES, len(batches)))
    begin = time.perf_counter()
    loaded = [_load(factory, batch) for batch in chosen]
    taken_s = time.perf_counter() - begin + trainer.validate(loaded)
    return taken_s * sum(b.seconds for b in batches) / sum(b.seconds for b in chosen)


def _warm_start_s(setup: Setup) -> float:
    """Both tasks, each timed over a few steps, and what comes before the first."""
    spec = setup.recipe.warm_start
    begin = dataclasses.replace(spec, log_mel_steps=0, ctc_steps=0)
    begin_s = _timed_warm_start(setup, begin)
    total_s = begin_s
    for task in ("log_mel_steps", "ctc_steps"):
        steps = getattr(spec, task)
        timed = min(steps, TIMED_WARM_START_STEPS)
        if timed:
            few_s = _timed_warm_start(setup, dataclasses.replace(begin, **{task: timed}))
            total_s += max(0.0, few_s - begin_s) * steps / timed
    return total_s


def _timed_warm_start(setup: Setup, spec: WarmStartSpec) -> float:
    short = dataclasses.replace(setup, recipe=dataclasses.replace(setup.recipe, warm_start=spec))
    begin = time.perf_counter()
    make_warm_start(short, setup.folder / "warm_start.pth", lambda _: None)
    return time.perf_counter() - begin


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gpu_bytes(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info()[1] if device.type == "cuda" else None


def _gigabytes(count: int | None) -> str:
    return "an unknown amount" if count is None else f"{count / GB:.1f} GB"
