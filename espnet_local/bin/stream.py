"""Streaming recognition of files, of raw PCM on stdin, or of the microphone.

    python -m espnet_local.bin.stream --model exp/mini_tiny/stage5b speech.wav
    sox speech.wav -t raw -r 16000 -e signed -b 16 -c 1 - | \\
        python -m espnet_local.bin.stream --model exp/mini_tiny/stage5b -

Results go to stdout; partial results, warnings and the summary to stderr.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from espnet_local.cli import log_to_stderr, run

if TYPE_CHECKING:
    from espnet_local.config import ContextSpec
    from espnet_local.decode.endpoint import EndpointRules
    from espnet_local.decode.live import Session, Timing
    from espnet_local.decode.stream import Result
    from espnet_local.decode.transcript import Transcript


def main(arguments: list[str] | None = None) -> None:
    """Parses the options, streams, prints."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    if options.num_threads < 1:
        raise ValueError(f"num_threads must be >= 1, got {options.num_threads}")
    from espnet_local.decode.sources import open_sources

    # Before torch, which takes seconds to import: a misspelt file name is told at once.
    pcm, rate = sys.stdin.buffer, options.sample_rate
    sources = open_sources(options.inputs, options.packet_ms, pcm, rate)
    endpoint = _endpoint(options)
    import torch
    from rich.console import Console

    from espnet_local.decode.live import Display, transcribe
    from espnet_local.decode.recognizer import Recognizer

    torch.set_num_threads(options.num_threads)
    recognizer = Recognizer.from_pretrained(
        options.model,
        chunk_ms=options.chunk_ms,
        left_chunks=options.left_chunks,
        sink_frames=options.sink_frames,
        method=options.method,
        beam=options.beam,
        endpoint=endpoint,
        device=options.device,
        dtype=options.dtype,
    )
    # A single stream's segments are printed as they close, the results of several in their order.
    at_once = len(sources) == 1 and options.format == "text"

    def segment_closed(session: Session, result: Result) -> None:
        if at_once and (result.text or session.stream.decoded):
            print(result.text, flush=True)

    with Display(Console(stderr=True)) as display:
        transcripts, timing = transcribe(
            recognizer, sources, options.realtime, display.show, segment_closed
        )
    if not at_once:
        for transcript in transcripts:
            for line in _lines(transcript, options.format):
                print(line)
    print(_summary(recognizer.context, transcripts, timing), file=sys.stderr)


def _lines(transcript: Transcript, form: str) -> list[str]:
    if form == "ctm":
        return transcript.ctm()
    if form == "json":
        return [transcript.json()]
    texts = [segment.text for segment in transcript.segments if segment.text] or [""]
    return [f"{transcript.name}\t{text}" for text in texts]


def _summary(context: ContextSpec, transcripts: list[Transcript], timing: Timing) -> str:
    from espnet_local.metrics import algorithmic_latency_ms, peak_memory_mb, percentiles_ms

    audio = sum(transcript.seconds for transcript in transcripts)
    parts = [
        f"{audio:.1f} s of audio in {len(transcripts)} stream{'s' * (len(transcripts) != 1)}",
        f"algorithmic latency {algorithmic_latency_ms(context)} ms",
    ]
    if audio:
        parts.append(f"real-time factor {timing.computing / audio:.3f}")
    for name, seconds in (
        ("computing a chunk", timing.chunks),
        ("packet to result", timing.responses),
        ("end to final result", timing.finalisation),
    ):
        if found := percentiles_ms(seconds):
            parts.append(f"{name} {found[0]:.1f} ms (p50) {found[1]:.1f} ms (p90)")
    parts.append(f"peak memory {peak_memory_mb():.0f} MB")
    return ", ".join(parts)


def _endpoint(options: argparse.Namespace) -> EndpointRules | None:
    from espnet_local.decode.endpoint import EndpointRules
    from espnet_local.decode.sources import MICROPHONE

    names = [name for name in vars(options) if name.startswith("rule")]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if not (options.endpoint or given or options.inputs == [MICROPHONE]):
        return None
    return EndpointRules(**given)


def _left_chunks(text: str) -> int | str:
    if text == "all" or text.isdecimal():
        return text if text == "all" else int(text)
    raise argparse.ArgumentTypeError(f"must be a number >= 0 or all, got {text!r}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="audio files (mono, any rate), - or mic")
    add("--model", required=True, metavar="MODEL", help="a sub-stage's folder, or a packed model")
    context = parser.add_argument_group("attention context (default: as the model was trained)")
    context.add_argument("--chunk_ms", type=int, help="a multiple of 20")
    context.add_argument("--left_chunks", type=_left_chunks, help="past chunks visible, or all")
    context.add_argument("--sink_frames", type=int, help="first frames that stay visible")
    add("--method", default="greedy", choices=("greedy", "beam"))
    add("--beam", type=int, default=4, help="hypotheses that beam search keeps")
    add("--device", default="cpu", help="cpu, cuda, cuda:1")
    add("--dtype", default="float32", help="float32, bfloat16 or float16")
    add("--num_threads", type=int, default=1, help="of the CPU; more pay for large models only")
    add("--format", default="text", choices=("text", "ctm", "json"), help="of the results")
    add("--realtime", action="store_true", help="files at the pace at which they were recorded")
    add("--packet_ms", type=int, default=100, help="audio handed over at once")
    add("--sample_rate", type=int, default=16_000, help="of raw PCM on stdin, Hz")
    ends = parser.add_argument_group("endpointing (on for the microphone), seconds")
    ends.add_argument("--endpoint", action="store_true", help="a line for each segment")
    ends.add_argument("--rule1_min_trailing_silence", type=float, help="2.4 when not given")
    ends.add_argument("--rule2_min_trailing_silence", type=float, help="behind words; 1.2")
    ends.add_argument("--rule3_min_utterance_length", type=float, help="20")
    return parser


if __name__ == "__main__":
    run(main)
