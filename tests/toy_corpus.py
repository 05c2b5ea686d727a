"""A toy corpus of tones, each word a pitch, with tokens and configs to train on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml

from espnet_local.bin import train as train_cli
from espnet_local.config import SAMPLE_RATE
from espnet_local.decode.greedy import greedy_search
from espnet_local.decode.model import LoadedModel
from local.corpora.utterance import Utterance
from local.corpora.writer import write_set
from local.tokens import main as make_tokens

ROOT = Path(__file__).parent.parent
WORDS = {"low": 220.0, "mid": 440.0, "high": 880.0}
PLAN = {
    "substages": {
        "1": {"parent": "pretrained", "epochs": 2},
        # A learning rate of nothing: the child must end where it began.
        "2a": {
            "parent": "1",
            "encoder_params": {"chunk_frames": 16},
            "epochs": 1,
            "lr_scale": 1e-30,
        },
        "2b": {"parent": "1", "encoder_params": {"chunk_frames": 32}, "epochs": 1},
        "4": {"parent": "2b", "encoder_params": {"chunk_frames": [8, 16]}, "epochs": 1},
    }
}


def tone_utterance(number: int) -> Utterance:
    generator = np.random.default_rng(number)
    words = generator.choice(list(WORDS), generator.integers(2, 5))
    time = np.arange(int(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    samples = np.concatenate([0.3 * np.sin(2 * np.pi * WORDS[word] * time) for word in words])
    noisy = samples + 0.01 * generator.standard_normal(len(samples))
    return Utterance(
        id=f"spk-{number:03d}",
        speaker="spk",
        samples=noisy.astype(np.float32),
        text=" ".join(words),
    )


def make_toy(root: Path) -> None:
    """Data, tokens, configs, and nothing trained yet."""
    for name, numbers in (("train", range(40)), ("dev", range(40, 48)), ("test", range(48, 54))):
        folder = root / "data" / name
        utterances = [tone_utterance(n) for n in numbers]
        write_set(
            folder, folder, utterances, audio_format="flac.ark", name=name, total=len(utterances)
        )
    make_tokens(
        ["--text", f"{root}/data/train/text", "--type", "char", "--vocab_size", "20",
         "--output", f"{root}/tokens", "--sets", f"{root}/data/train", f"{root}/data/dev"]
    )  # fmt: skip
    size = yaml.safe_load((ROOT / "conf/tiny.yaml").read_text())
    size.update(num_iters_per_epoch=3, use_tensorboard=False, use_matplotlib=False)
    size["recipe"]["warm_start"].update(log_mel_steps=2, ctc_steps=2)
    (root / "tiny.yaml").write_text(yaml.safe_dump(size))
    (root / "stages.yaml").write_text(yaml.safe_dump(PLAN))


def talkative(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Makes a hardly trained model emit something, so that there is something to compare."""
    weights["joint_network.lin_out.bias"][0] -= 2.0
    generator = torch.Generator().manual_seed(0)
    weights["joint_network.lin_out.weight"] += 0.5 * torch.randn(
        weights["joint_network.lin_out.weight"].shape, generator=generator
    )
    return weights


def greedy_tokens(recognise, model: LoadedModel) -> Iterator[tuple[list[int], list[int]]]:
    """The tokens of three utterances by ESPnet's `Speech2Text` and by us, under one context."""
    (context,) = model.own_contexts
    for number in range(3):
        samples = tone_utterance(number).samples
        (_, _, theirs, _), *_ = recognise(samples)
        with torch.no_grad():
            frames, lengths = model.model.encoder.forward_context(
                torch.from_numpy(samples)[None], torch.tensor([len(samples)]), context
            )
            parts = model.model.decoder, model.model.joint_network
            (found,) = greedy_search(*parts, frames, lengths)
        yield list(theirs), list(found.tokens)


def train(root: Path, monkeypatch, *extra: str) -> None:
    options = {"data": "data", "tokens": "tokens", "expdir": "exp", "plan": "stages.yaml"}
    paths = [part for name, path in options.items() for part in (f"--{name}", f"{root}/{path}")]
    monkeypatch.setattr(
        "sys.argv", ["train", *paths, "--conf", str(root), "--corpus", "toy", *extra]
    )
    train_cli.main()
