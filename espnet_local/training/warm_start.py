"""A warm start for encoders without pretrained weights, in a minute.

From random weights a transducer spends most of a short training on a plateau: it finds out what a
spectrum is, and that speech and text run side by side. Two cheaper tasks teach that first: the
front end predicts log-mel frames through a linear map, then the encoder learns CTC (Graves et al.
2006) on short utterances, where alignments are easy to find. Pretrained encoders have no use for
it. B batch, N samples, T frames, U tokens, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchaudio.transforms import MelSpectrogram

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES, SAMPLE_RATE, ContextSpec
from espnet_local.encoder.frontend import extract_features
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.encoder.waveform import normalise_waveform
from espnet_local.files import atomic_open
from espnet_local.training.spec import WarmStartSpec

log = logging.getLogger(__name__)

MEL_BANDS = 40
CROP_SAMPLES = RECEPTIVE_SAMPLES + 99 * HOP_SAMPLES  # 100 frames
GRADIENT_CLIP = 5.0
WARM_UP_SHARE = 0.4  # of the steps up to the full learning rate
REPORT_STEPS = 50


def learn_log_mel(
    encoder: StreamingEncoder,
    audio: Mapping[str, np.ndarray],
    spec: WarmStartSpec,
    seed: int,
    report: Callable[[str], None] = log.info,
) -> float:
    """Trains `encoder.feature_extractor` in place to predict log-mel frames.

    Args:
        encoder: with random weights.
        audio: utterances, (N,) float32 each.
        spec: steps, batch and step size.
        seed: of crops and of the linear map.
        report: receives progress lines.

    Returns:
        The share of the log-mel variance left unexplained in the last steps.
    """
    generator = np.random.default_rng(seed)
    keys = sorted(audio)
    torch.manual_seed(seed)
    channels = encoder.spec.architecture.conv_layers[-1][0]
    head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, MEL_BANDS))
    transform = MelSpectrogram(
        SAMPLE_RATE,
        n_fft=512,
        win_length=RECEPTIVE_SAMPLES,
        hop_length=HOP_SAMPLES,
        n_mels=MEL_BANDS,
        center=False,
    )

    def loss(_step: int) -> Tensor:
        chosen = generator.choice(len(keys), spec.log_mel_batch)
        crops = [_crop(audio[keys[i]], generator) for i in chosen]
        samples = normalise_waveform(torch.from_numpy(np.stack(crops))).samples  # (B, N)
        wanted = log_mel(transform, samples)
        found = head(extract_features(encoder.feature_extractor, samples))
        return (found - wanted).square().mean() / wanted.var()

    parameters = [*encoder.feature_extractor.parameters(), *head.parameters()]
    return _optimise(
        parameters,
        loss,
        spec.log_mel_steps,
        spec.log_mel_lr,
        lambda step, left: report(
            f"log-mel warm start {step}/{spec.log_mel_steps}: {left:.0%} of variance left"
        ),
    )


def learn_ctc(
    encoder: StreamingEncoder,
    output: nn.Linear,
    audio: Mapping[str, np.ndarray],
    tokens: Mapping[str, list[int]],
    durations: Mapping[str, int],
    spec: WarmStartSpec,
    seed: int,
    report: Callable[[str], None] = log.info,
) -> float:
    """Trains encoder and CTC output in place on short utterances, in full context.

    Args:
        encoder: after `learn_log_mel`.
        output: D -> V, with blank 0.
        audio: utterances, (N,) float32 each.
        tokens: their token ids.
        durations: their lengths in samples.
        spec: steps, batch and step size.
        seed: of the order of the batches and of dropout.
        report: receives progress lines.

    Returns:
        The loss of the last steps, nats an utterance.

    Raises:
        ValueError: when no utterance is short enough.
    """
    torch.manual_seed(seed)
    batches = _short_batches(durations, spec, seed)
    encoder.train()

    def loss(_step: int) -> Tensor:
        batch = next(batches)
        lengths = torch.tensor([durations[key] for key in batch])
        samples = pad_sequence([torch.from_numpy(audio[key]) for key in batch], batch_first=True)
        targets = [torch.tensor(tokens[key]) for key in batch]
        target_lengths = torch.tensor([len(target) for target in targets])
        frames, frame_lengths = encoder.forward_context(samples, lengths, ContextSpec())
        logprobs = output(frames).log_softmax(-1).transpose(0, 1)  # (B, T, V) -> (T, B, V)
        total = F.ctc_loss(
            logprobs,
            torch.cat(targets),
            frame_lengths,
            target_lengths,
            reduction="sum",
            zero_infinity=True,
        )
        return total / len(batch)

    return _optimise(
        [*encoder.parameters(), *output.parameters()],
        loss,
        spec.ctc_steps,
        spec.ctc_lr,
        lambda step, left: report(f"CTC warm start {step}/{spec.ctc_steps}: loss {left:.1f}"),
    )


def save_warm_start(encoder: StreamingEncoder, output: nn.Linear, path: Path) -> None:
    """Writes the weights under the names they have in the ESPnet model."""
    named = {"encoder": encoder.state_dict(), "ctc.ctc_lo": output.state_dict()}
    weights = {f"{part}.{name}": v for part, state in named.items() for name, v in state.items()}
    with atomic_open(path, "wb") as stream:
        torch.save(weights, stream)


def log_mel(transform: MelSpectrogram, samples: Tensor) -> Tensor:
    """(B, N) -> (B, T, 40), one frame for each frame of the encoder."""
    # The transform's window is centred in 512 samples: shift so that it lies on the encoder's 400.
    offset = (transform.n_fft - RECEPTIVE_SAMPLES) // 2
    padded = F.pad(samples, (offset, transform.n_fft - RECEPTIVE_SAMPLES - offset))
    return torch.log(transform(padded) + 1e-3).transpose(1, 2)  # (B, 40, T) -> (B, T, 40)


def _optimise(
    parameters: list[nn.Parameter],
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float,
    report: Callable[[int, float], None],
) -> float:
    """Minimises `loss(step)` and gives its running mean over about the last ten steps."""
    if steps == 0:
        return float("nan")
    optimiser = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98))
    # No decay at the end: the training that follows begins at a high rate again.
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimiser, start_factor=0.02, total_iters=max(1, round(steps * WARM_UP_SHARE))
    )
    mean = float("nan")
    for step in range(1, steps + 1):
        value = loss(step)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        optimiser.step()
        schedule.step()
        mean = value.item() if step == 1 else 0.9 * mean + 0.1 * value.item()
        if step % REPORT_STEPS == 0 or step == steps:
            report(step, mean)
    return mean


def _short_batches(
    durations: Mapping[str, int], spec: WarmStartSpec, seed: int
) -> Iterator[list[str]]:
    """Batches of utterances of about equal length, in random order, over and over."""
    longest = spec.ctc_longest_seconds * SAMPLE_RATE
    keys = sorted((k for k in durations if durations[k] <= longest), key=lambda k: durations[k])
    if not keys:
        raise ValueError(
            f"CTC warm start: no utterance of at most {spec.ctc_longest_seconds} s; raise "
            "recipe.warm_start.ctc_longest_seconds"
        )
    size = spec.ctc_batch_seconds * SAMPLE_RATE
    batches: list[list[str]] = [[]]
    for key in keys:
        if batches[-1] and durations[key] * (len(batches[-1]) + 1) > size:
            batches.append([])
        batches[-1].append(key)
    return _endless(batches, np.random.default_rng(seed))


def _endless(batches: list[list[str]], generator: np.random.Generator) -> Iterator[list[str]]:
    while True:
        for index in generator.permutation(len(batches)):
            yield batches[index]


def _crop(samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Two seconds from a random place; a shorter utterance is filled with zeros."""
    if len(samples) <= CROP_SAMPLES:
        return np.pad(samples, (0, CROP_SAMPLES - len(samples)))
    start = generator.integers(len(samples) - CROP_SAMPLES)
    return samples[start : start + CROP_SAMPLES]
