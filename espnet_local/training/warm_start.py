"""A warm start for encoders without pretrained weights: the front end learns log-mel frames.

From random weights a transducer spends most of a short training finding out what a spectrum is. A
few hundred steps in which a linear map of the front end's output predicts 40 log-mel bands give it
that, in seconds. Pretrained encoders have no use for it. B batch, N samples, T frames.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES, SAMPLE_RATE
from espnet_local.encoder.frontend import extract_features
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.encoder.waveform import normalise_waveform
from espnet_local.files import atomic_open
from espnet_local.training.spec import WarmStartSpec

log = logging.getLogger(__name__)

MEL_BANDS = 40
CROP_SAMPLES = RECEPTIVE_SAMPLES + 99 * HOP_SAMPLES  # 100 frames


def warm_start(
    encoder: StreamingEncoder,
    audio: Mapping[str, np.ndarray],
    spec: WarmStartSpec,
    seed: int,
    report: Callable[[str], None] = log.info,
) -> float:
    """Trains `encoder.feature_extractor` in place.

    Args:
        encoder: with random weights.
        audio: utterances, (N,) float32 each.
        spec: length and step size.
        seed: of crops and of the linear map.
        report: receives progress lines.

    Returns:
        The share of the log-mel variance left unexplained in the last steps.
    """
    generator = np.random.default_rng(seed)
    keys = sorted(audio)
    torch.manual_seed(seed)
    extractor = encoder.feature_extractor
    channels = encoder.spec.architecture.conv_layers[-1][0]
    head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, MEL_BANDS))
    targets = MelSpectrogram(
        SAMPLE_RATE,
        n_fft=512,
        win_length=RECEPTIVE_SAMPLES,
        hop_length=HOP_SAMPLES,
        n_mels=MEL_BANDS,
        center=False,
    )
    parameters = [*extractor.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=spec.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=spec.lr, total_steps=max(spec.steps, 1), pct_start=0.1
    )
    left = float("nan")
    for step in range(spec.steps):
        chosen = generator.choice(len(keys), spec.batch)
        crops = [_crop(audio[keys[i]], generator) for i in chosen]
        samples = normalise_waveform(torch.from_numpy(np.stack(crops)))  # (B, N)
        wanted = _log_mel(targets, samples)
        found = head(extract_features(extractor, samples))
        loss = (found - wanted).square().mean() / wanted.var()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        left = loss.item() if step == 0 else 0.9 * left + 0.1 * loss.item()
        if (step + 1) % 100 == 0:
            report(f"warm start {step + 1}/{spec.steps}: {left:.0%} of log-mel variance left")
    return left


def save_front_end(encoder: StreamingEncoder, path: Path) -> None:
    """Writes the front end's weights under the names they have in the ESPnet model."""
    weights = {
        f"encoder.feature_extractor.{name}": value
        for name, value in encoder.feature_extractor.state_dict().items()
    }
    with atomic_open(path, "wb") as stream:
        torch.save(weights, stream)


def _crop(samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Two seconds from a random place; a shorter utterance is filled with zeros."""
    if len(samples) <= CROP_SAMPLES:
        return np.pad(samples, (0, CROP_SAMPLES - len(samples)))
    start = generator.integers(len(samples) - CROP_SAMPLES)
    return samples[start : start + CROP_SAMPLES]


def _log_mel(transform: MelSpectrogram, samples: Tensor) -> Tensor:
    """(B, N) -> (B, T, 40), one frame for each frame of the encoder."""
    # The transform's window is centred in 512 samples: shift so that it lies on the encoder's 400.
    offset = (transform.n_fft - RECEPTIVE_SAMPLES) // 2
    padded = nn.functional.pad(samples, (offset, transform.n_fft - RECEPTIVE_SAMPLES - offset))
    return torch.log(transform(padded) + 1e-3).transpose(1, 2)  # (B, 40, T) -> (B, T, 40)
