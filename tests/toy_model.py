"""A model of random weights that emits something, as training would have written it, and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from espnet_local.config import ContextSpec
from espnet_local.decode.model import Transducer
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.files import write_text
from espnet_local.stamp import write_stamp
from espnet_local.transducer.joiner import Joiner, JoinerSpec
from espnet_local.transducer.predictor import PredictorSpec, StatelessPredictor
from local.tokens import train, write_tokens


def write_stage(folder: Path, **contexts: list[Any]) -> None:
    """Writes a finished sub-stage; `contexts` as in `encoder_conf`, chunks of 4 by default."""
    folder.mkdir(parents=True)
    tokens = write_tokens(train(["one two three", "two one"], "char", 20, "text"), folder).tokens
    given = {"chunk_frames": [4], "left_chunks": [None], "sink_frames": [0], **contexts}
    config = {
        "encoder": "xlsr_streaming",
        "encoder_conf": {"size": "tiny", "contexts": given},
        "decoder": "stateless",
        "decoder_conf": {"dim": 8},
        "model_conf": {"joiner": {"dim": 8}},
        "token_list": list(tokens),
    }
    write_text(folder / "config.yaml", yaml.safe_dump(config))
    torch.manual_seed(1)
    encoder = StreamingEncoder(EncoderSpec(size="tiny"))
    predictor = StatelessPredictor(len(tokens), PredictorSpec(dim=8))
    joiner = Joiner(len(tokens), encoder.output_size(), 8, JoinerSpec(dim=8))
    model = Transducer(encoder, predictor, joiner).eval()
    _calibrate(model)
    weights = model.state_dict()
    torch.save(weights, folder / "valid.wer.best.pth")
    write_stamp(folder, "trained", substage="2a", contexts=given)


@torch.no_grad()
def _calibrate(model: Transducer) -> None:
    """Makes labels differ from frame to frame, and blank win at most frames of noise."""
    noise = 0.15 * torch.randn(4, 32_000, generator=torch.Generator().manual_seed(0))
    frames, _ = model.encoder.forward_context(noise, torch.full((4,), 32_000), ContextSpec())
    joiner, predictor = model.joint_network, model.decoder
    # The encoder's frames hardly differ from each other: their mean is taken away.
    mean, scale = frames.mean(dim=(0, 1)), frames.std(dim=(0, 1))
    joiner.lin_enc.weight.copy_(joiner.lin_enc.weight * 3 / scale)
    joiner.lin_enc.bias.copy_(-joiner.lin_enc.weight @ mean)
    joiner.lin_out.weight.mul_(6)
    history = predictor.initial(4, "cpu")
    logits = joiner(frames, predictor.step(history)[:, None])  # (4, T, V)
    lead = logits[..., 1:].amax(dim=-1) - logits[..., 0]
    joiner.lin_out.bias[0] += lead.flatten().quantile(0.8)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Changes its level now and then, so that the toy model emits now more, now less."""
    generator = np.random.default_rng(seed)
    level = np.repeat(generator.uniform(0.0, 0.3, samples // 4000 + 1), 4000)[:samples]
    return (level * generator.standard_normal(samples).clip(-3, 3)).astype(np.float32)


def run(recognizer, stream):
    while recognizer.is_ready(stream):
        recognizer.decode_streams([stream])
    return recognizer.get_result(stream)


def recognise(recognizer, samples, sample_rate=16_000):
    stream = recognizer.create_stream()
    stream.accept_waveform(sample_rate, samples)
    stream.input_finished()
    return run(recognizer, stream)
