"""What streaming costs, against the ways to do without cached states.

    python -m benchmarks.streaming                 # tiny, two threads, some two minutes
    python -m benchmarks.streaming --size xlsr_300m --rounds 1 --seconds 5

Encoder alone, random weights, noise: neither changes the number of operations. Against
  (a) encoding all of the past again at each chunk,
  (b) encoding a window of left context and chunk again at each chunk (other frames: no sinks, and
      layers above the first see less),
  (c) one offline pass over the utterance under the same mask,
and the stream's own cost when it is old against when it is young.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from benchmarks.harness import Row, medians, table
from espnet_local.config import HOP_SAMPLES, SAMPLE_RATE, ContextSpec
from espnet_local.encoder.cache import EncoderState
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--size", default="tiny", choices=("tiny", "xlsr_300m"))
    parser.add_argument("--seconds", type=int, default=20, help="of the utterance")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--num_threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--old_seconds", type=int, default=600, help="age of the old stream")
    options = parser.parse_args()
    torch.set_num_threads(options.num_threads)
    torch.manual_seed(0)
    encoder = StreamingEncoder(EncoderSpec(size=options.size)).eval()
    encoder.bake_weights()
    samples = 0.1 * torch.randn(1, options.seconds * SAMPLE_RATE)
    rows = []
    for chunk_frames in (16, 32):
        context = ContextSpec(chunk_frames=chunk_frames, left_chunks=1, sink_frames=16)
        rows += against_recomputing(encoder, samples, context, options.rounds)
    context = ContextSpec(chunk_frames=16, left_chunks=1, sink_frames=16)
    rows.append(old_against_young(encoder, context, options.old_seconds))
    print(f"{options.size}, {options.seconds} s, {options.num_threads} threads, float32\n")
    print(table(rows))


def against_recomputing(
    encoder: StreamingEncoder, samples: Tensor, context: ContextSpec, rounds: int
) -> list[Row]:
    """Rows (a), (b) and (c) of one context."""
    assert context.chunk_frames is not None
    assert context.left_chunks is not None
    hop = context.chunk_frames * HOP_SAMPLES
    ends = range(hop + 80, samples.shape[1] + 1, hop)
    window = (context.left_chunks + 1) * hop + 80

    @torch.no_grad()
    def encode(part: Tensor) -> Tensor:
        lengths = torch.tensor([part.shape[1]])
        return encoder.forward_context(part, lengths, context)[0]

    found = medians(
        {
            "stream": lambda: stream(encoder, samples, context, hop),
            "all": lambda: [encode(samples[:, :end]) for end in ends],
            "window": lambda: [encode(samples[:, max(0, end - window) : end]) for end in ends],
            "offline": lambda: encode(samples),
        },
        rounds,
    )
    # ms of computing a second of audio
    ms = {name: 1000 * value * SAMPLE_RATE / samples.shape[1] for name, value in found.items()}
    name, goals = f"{context.chunk_ms} ms", {16: (">=5", ""), 32: (">=5", "<=1.3")}
    past, offline = goals[context.chunk_frames]
    unit = "ms/s of audio"

    def row(peer: str, what: str, goal: str, ratio: float) -> Row:
        title = f"{name} stream, {what}"
        return Row(
            name=title, ratio=ratio, goal=goal, unit=unit, ours=ms["stream"], peer=ms[peer], note=""
        )

    return [
        row("all", "times cheaper than (a) all past again", past, ms["all"] / ms["stream"]),
        row("window", "times cheaper than (b) window", ">=1", ms["window"] / ms["stream"]),
        row("offline", "cost of (c) offline pass", offline, ms["stream"] / ms["offline"]),
    ]


def stream(
    encoder: StreamingEncoder, samples: Tensor, context: ContextSpec, packet: int
) -> EncoderState:
    """Streams an utterance chunk by chunk."""
    state = encoder.init_state(1, context)
    for start in range(0, samples.shape[1], packet):
        state = encoder.step(samples[:, start : start + packet], state).state
    return state


def old_against_young(encoder: StreamingEncoder, context: ContextSpec, seconds: int) -> Row:
    """Time a chunk of a long stream against that of a short one, in turn."""
    assert context.chunk_frames is not None
    hop = context.chunk_frames * HOP_SAMPLES
    packet = 0.1 * torch.randn(1, hop)
    # Two seconds fill the caches.
    young, old = (
        stream(encoder, 0.1 * torch.randn(1, age * SAMPLE_RATE), context, hop)
        for age in (2, seconds)
    )
    found = medians(
        {"young": lambda: encoder.step(packet, young), "old": lambda: encoder.step(packet, old)},
        rounds=200,
    )
    return Row(
        name=f"{context.chunk_ms} ms chunk, at an age of {seconds} s against 2 s",
        ratio=found["old"] / found["young"],
        goal="<=1.1",
        unit="ms/chunk",
        ours=1000 * found["old"],
        peer=1000 * found["young"],
        note="",
    )


if __name__ == "__main__":
    main()
