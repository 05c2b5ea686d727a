"""Decodes one shard of a data set with a trained model, whole utterances under masks.

B utterances, N samples, T frames, D width.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_local.config import SAMPLE_RATE, ContextSpec
from espnet_local.decode.hypothesis import Hypothesis
from espnet_local.decode.methods import make_search
from espnet_local.decode.model import LoadedModel
from espnet_local.decode.output import Outputs, write_outputs
from espnet_local.decode.plan import DecodeSpec, DecodeTask, Decoding, Method, Shard
from espnet_local.decode.search import decode
from espnet_local.decode.shard_audio import ShardAudio
from espnet_local.decode.streaming_runner import decode_streaming

log = logging.getLogger(__name__)


def decode_shard(
    loaded: LoadedModel,
    tasks: Iterable[DecodeTask],
    shard: Shard,
    spec: DecodeSpec,
    report: Callable[[str], None],
) -> None:
    """Decodes one shard of each task; frames are encoded once for all methods of a context.

    Args:
        loaded: the model of the tasks' sub-stage, on the device to decode on.
        tasks: of one sub-stage, those of a set and context side by side.
        report: receives progress lines.

    Raises:
        ValueError, OSError: for audio that cannot be decoded, naming the utterance.
    """
    for (data_dir, context, decoding), group in groupby(tasks, key=_frames_of):
        same_frames = list(group)
        if decoding == "streaming":
            for task in same_frames:
                decode_streaming(loaded, task, shard, spec, report)
            continue
        title = f"decode {same_frames[0].substage} {context.name} {data_dir.name}"
        audio = ShardAudio(data_dir, shard)
        found: dict[Method, dict[str, Hypothesis]] = {task.method: {} for task in same_frames}
        searches = {method: make_search(loaded, method, spec.beam) for method in found}
        done, begin = 0, time.monotonic()
        for batch in make_batches(audio.samples, int(spec.batch_seconds * SAMPLE_RATE)):
            frames, lengths = _encode(loaded, [audio.read(u) for u in batch], context)
            for method, hypotheses in found.items():
                hypotheses.update(zip(batch, decode(searches[method], frames, lengths)))
            done += len(batch)
            report(f"{title} {done}/{len(audio.samples)} utterances")
        elapsed = time.monotonic() - begin
        log.info(
            "%s: %.1f s of audio in %.1f s, %s", title, audio.seconds, elapsed, " and ".join(found)
        )
        for task in same_frames:
            outputs = Outputs.of(found[task.method], loaded.tokenizer)
            for utterance, text in outputs.tables["text"].items():
                log.debug("%s %s: %s", title, utterance, text)
            write_outputs(task.shard_folder(shard), outputs, task.fingerprint)


def make_batches(samples: Mapping[str, int], batch_samples: int) -> Iterator[list[str]]:
    """Utterances in batches of at most `batch_samples` with padding, or of one; the longest first.

    Args:
        samples: utterance -> number of samples.
    """
    batch: list[str] = []
    for utterance in sorted(samples, key=lambda u: (-samples[u], u)):
        # Sorted, so the first of a batch is its longest.
        if batch and samples[batch[0]] * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(utterance)
    if batch:
        yield batch


@torch.no_grad()
def _encode(
    loaded: LoadedModel, batch: list[np.ndarray], context: ContextSpec
) -> tuple[Tensor, Tensor]:
    """B x (N,) samples -> (B, T, D) frames, (B,) frame counts."""
    device = next(loaded.model.parameters()).device
    lengths = torch.tensor([len(samples) for samples in batch], device=device)
    samples = pad_sequence([torch.from_numpy(samples) for samples in batch], batch_first=True)
    return loaded.model.encoder.forward_context(samples.to(device), lengths, context)


def _frames_of(task: DecodeTask) -> tuple[Path, ContextSpec, Decoding]:
    return task.data_dir, task.context, task.decoding
