"""The warm start of encoders with random weights."""

import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from espnet_local.encoder.frontend import frame_count
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.training.spec import WarmStartSpec
from espnet_local.training.warm_start import (
    learn_ctc,
    learn_log_mel,
    log_mel,
    save_warm_start,
)


@pytest.fixture
def audio() -> dict[str, np.ndarray]:
    """Tones of several pitches and loudnesses: something to predict."""
    generator = np.random.default_rng(0)
    time = np.arange(12_000) / 16_000
    return {
        f"u{i}": (
            generator.uniform(0.02, 0.3) * np.sin(2 * np.pi * generator.uniform(100, 4000) * time)
        ).astype(np.float32)
        for i in range(20)
    }


@pytest.fixture
def encoder() -> StreamingEncoder:
    torch.manual_seed(0)
    return StreamingEncoder(EncoderSpec(size="tiny"))


def test_front_end_learns_log_mel_frames(encoder, audio):
    before = {k: v.clone() for k, v in encoder.encoder.state_dict().items()}
    short, longer = (
        learn_log_mel(
            encoder, audio, WarmStartSpec(log_mel_steps=steps, log_mel_batch=4), 0, lambda _: None
        )
        for steps in (5, 40)
    )
    assert longer < 0.6 * short
    assert all(torch.equal(v, before[k]) for k, v in encoder.encoder.state_dict().items())


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000])
def test_there_is_one_log_mel_frame_for_each_encoder_frame(samples):
    transform = MelSpectrogram(16_000, 512, 400, 320, n_mels=40, center=False)
    frames = log_mel(transform, torch.zeros(2, samples))
    assert frames.shape == (2, frame_count(torch.tensor(samples)), 40)


def test_log_mel_frame_looks_at_the_samples_of_the_encoder_frame():
    transform = MelSpectrogram(16_000, 512, 400, 320, n_mels=40, center=False)
    samples = torch.zeros(1, 16_000, requires_grad=True)
    frames = log_mel(transform, samples + 0.1 * torch.randn(1, 16_000))
    (gradient,) = torch.autograd.grad(frames[0, 10].sum(), samples)
    seen = gradient[0].nonzero().flatten()
    # The window's ends are zero or nearly so.
    assert 3_200 <= seen.min() <= 3_202
    assert 3_598 <= seen.max() < 3_600


def test_ctc_learns_from_short_utterances_only(encoder, audio):
    audio["long"] = np.zeros(400_000, np.float32)
    tokens = {key: [2, 3, 2] for key in audio}
    output = torch.nn.Linear(encoder.output_size(), 5)
    read = []

    class Watched(dict):
        def __getitem__(self, key):
            read.append(key)
            return super().__getitem__(key)

    durations = {key: len(samples) for key, samples in audio.items()}
    losses = [
        learn_ctc(
            encoder, output, Watched(audio), tokens, durations,
            WarmStartSpec(ctc_steps=steps, ctc_batch_seconds=2.0), 0, lambda _: None,
        )
        for steps in (2, 25)
    ]  # fmt: skip
    assert losses[1] < 0.5 * losses[0]
    assert "long" not in read
    assert len(set(read)) > 10


def test_corpus_without_short_utterances_is_refused(encoder, audio):
    spec = WarmStartSpec(ctc_steps=1, ctc_longest_seconds=0.5)
    durations = {key: len(samples) for key, samples in audio.items()}
    with pytest.raises(ValueError, match=r"no utterance of at most 0.5 s"):
        learn_ctc(encoder, torch.nn.Linear(144, 5), audio, {}, durations, spec, 0)


def test_weights_are_saved_under_espnets_names(encoder, tmp_path):
    output = torch.nn.Linear(144, 5)
    save_warm_start(encoder, output, tmp_path / "warm.pth")
    saved = torch.load(tmp_path / "warm.pth", weights_only=True)
    assert torch.equal(saved["ctc.ctc_lo.weight"], output.weight)
    names = {f"encoder.{name}" for name in encoder.state_dict()}
    assert names == {name for name in saved if name.startswith("encoder.")}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"log_mel_steps": -1}, "log_mel_steps must be >= 0, got -1"),
        ({"ctc_lr": 0.0}, "ctc_lr must be > 0, got 0.0"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        WarmStartSpec(**values)
