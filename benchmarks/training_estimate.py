"""Memory and time that training takes on GPUs that are not here: counted, not measured.

    python -m benchmarks.training_estimate --size xlsr53 --size xlsr53_40gb

One forward pass under bfloat16 autocast with random weights, on the CPU, on audio of two lengths:
every tensor that autograd keeps is counted once and a line put through the two counts; so are the
multiply-adds of products, convolutions and attention. To that come the states of weights and
optimiser, the transducer's logits, and what a checkpointed layer keeps while it is computed again.
What cuDNN and the allocator take on top is not in it: some 1 to 2 GB. `./run.sh --dry_run` measures
where a GPU is at hand.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from espnet_local.config import FRAME_MS, SAMPLE_RATE, from_mapping
from espnet_local.encoder.frontend import extract_features
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.training.plan import load_plan
from espnet_local.training.setup import SizeConfig, load_size

LENGTHS_S = (4, 8)
# Of a batch: utterances of ten seconds, 4 BPE tokens a second, 500 tokens in the vocabulary.
UTTERANCE_S, TOKENS_PER_S, VOCABULARY = 10, 4, 500
STATE_BYTES = 4 + 4 + 8  # a weight, its gradient and Adam's two moments, float32
GPUS = {
    "T4 16 GB": 20e12,
    "V100 16 GB": 45e12,
    "A100 40 GB": 110e12,
}  # FLOP/s: a third of their peak
GB = 1e9


class Counted(NamedTuple):
    """Of an encoder, as it grows with the audio."""

    parameters: int
    trained: int
    kept_a_second: float  # bytes that autograd keeps, without checkpointing
    fixed: float  # bytes that it keeps whatever the length: weights in bfloat16
    flop_a_second: float  # forward pass
    frontend_flop_a_second: float


def count(spec: EncoderSpec) -> Counted:
    """Runs the encoder forwards on two lengths."""
    torch.manual_seed(0)
    whole = dataclasses.replace(spec, gradient_checkpointing=False, layer_drop=0.0)
    encoder = StreamingEncoder(whole).train()
    kept, flop, frontend = [], [], []
    for seconds in LENGTHS_S:
        samples = 0.1 * torch.randn(1, seconds * SAMPLE_RATE)
        lengths = torch.tensor([samples.shape[1]])
        encoder.train_batches.fill_(spec.thaw_after_batches)
        weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
        seen: dict[int, int] = {}

        def keep(value: Tensor, seen: dict[int, int] = seen, weights: set[int] = weights) -> Tensor:
            storage = value.untyped_storage()
            if storage.data_ptr() not in weights:
                seen[storage.data_ptr()] = storage.nbytes()
            return value

        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value),
            FlopCounterMode(display=False) as counter,
        ):
            frames = encoder(samples, lengths)[0]
        kept.append(sum(seen.values()))
        flop.append(counter.get_total_flops())
        del frames
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            extract_features(encoder.feature_extractor, samples)
        frontend.append(counter.get_total_flops())
    span = LENGTHS_S[1] - LENGTHS_S[0]
    slope = (kept[1] - kept[0]) / span
    return Counted(
        parameters=sum(p.numel() for p in encoder.parameters()),
        trained=sum(p.numel() for p in encoder.parameters() if p.requires_grad),
        kept_a_second=slope,
        fixed=max(0.0, kept[0] - slope * LENGTHS_S[0]),
        flop_a_second=(flop[1] - flop[0]) / span,
        frontend_flop_a_second=(frontend[1] - frontend[0]) / span,
    )


def memory(size: SizeConfig, spec: EncoderSpec, found: Counted) -> dict[str, float]:
    """Bytes by what they are for."""
    batch_s = size.espnet["batch_bins"] / SAMPLE_RATE + UTTERANCE_S  # ESPnet overshoots by one
    frames = batch_s * 1000 / FRAME_MS
    shape = spec.architecture
    activations = found.kept_a_second * batch_s
    if spec.gradient_checkpointing:
        # The input of every layer, and one layer whole.
        activations = activations / shape.layers + shape.layers * frames * shape.dim * 4
    # bfloat16 logits, their float32 copy and its gradient; tanh in float32 and bfloat16.
    joint = size.espnet["model_conf"]["joiner"]["dim"]
    nodes = frames * (UTTERANCE_S * TOKENS_PER_S + 1)
    # The widest layer of the front end, three times over, which keeps nothing.
    frontend = 3 * batch_s * SAMPLE_RATE / shape.conv_layers[0][2] * shape.conv_layers[0][0] * 4
    return {
        "weights": 4.0 * (found.parameters - found.trained) + STATE_BYTES * found.trained,
        "fixed": found.fixed,
        "activations": activations,
        "passing": max(nodes * (VOCABULARY * (2 + 4 + 4) + joint * 6), frontend),
    }


def hours(size: SizeConfig, spec: EncoderSpec, found: Counted, stage: str, rate: float) -> float:
    """Of a stage's training at so many FLOP/s, validation and reading left out."""
    plan = load_plan(Path("conf/stages.yaml"))
    passes = 4 if spec.gradient_checkpointing else 3
    frontend = 1 if spec.freeze_frontend else 3
    flop = found.frontend_flop_a_second * frontend
    flop += (found.flop_a_second - found.frontend_flop_a_second) * passes
    epochs = sum(plan.substages[name].epochs for name in plan.of_stage(int(stage)))
    audio_s = epochs * size.espnet["num_iters_per_epoch"] * size.espnet["batch_bins"] / SAMPLE_RATE
    return flop * audio_s / rate / 3600


def main() -> None:
    """Counts and prints Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", action="append", required=True, help="conf/<size>.yaml")
    print(
        "| size | weights and optimiser | bfloat16 weights | activations | loss, front end | sum |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    rows = []
    for name in parser.parse_args().size:
        size = load_size(Path(f"conf/{name}.yaml"))
        spec = from_mapping(EncoderSpec, size.espnet["encoder_conf"], "encoder_conf")
        found = count(spec)
        parts = memory(size, spec, found)
        cells = [f"{value / GB:.1f} GB" for value in (*parts.values(), sum(parts.values()))]
        print(f"| {name} | {' | '.join(cells)} |")
        rows.append((name, size, spec, found))
    counted = []
    print(f"\n| size | GPU | {' | '.join(f'stage {s}' for s in '12345')} |")
    print("|---|---|" + "--:|" * 5)
    for name, size, spec, found in rows:
        for gpu, rate in GPUS.items():
            times = [f"{hours(size, spec, found, s, rate):.1f} h" for s in "12345"]
            print(f"| {name} | {gpu} | {' | '.join(times)} |")
        counted.append(
            f"{name}: {found.flop_a_second / 1e9:.1f} GFLOP a second of audio forwards, of them "
            f"front end {found.frontend_flop_a_second / 1e9:.1f}; "
            f"{found.kept_a_second / 1e6:.0f} MB kept a second; "
            f"{found.parameters / 1e6:.0f} M parameters, {found.trained / 1e6:.0f} M trained"
        )
    print("\n" + "\n".join(counted))


if __name__ == "__main__":
    main()
