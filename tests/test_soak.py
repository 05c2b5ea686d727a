"""The five-minute version of benchmarks/soak.py, for memory alone."""

import numpy as np
import pytest
import soundfile
import torch
from toy_model import write_stage

from benchmarks.soak import MEMORY_BOUND, soak
from espnet_local.decode.endpoint import EndpointRules
from espnet_local.decode.recognizer import Recognizer
from espnet_local.files import write_table


@pytest.mark.slow
@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_memory_of_a_long_stream_is_flat_after_the_first_minute(tmp_path, method):
    data = tmp_path / "data"
    names = [f"u{i}" for i in range(10)]
    write_table(data / "wav.scp", {name: data / f"{name}.wav" for name in names})
    write_table(data / "text", dict.fromkeys(names, "one two"))
    generator = np.random.default_rng(0)
    for name in names:
        level = np.repeat(generator.uniform(0.02, 0.3, 20), 4_000)
        soundfile.write(data / f"{name}.wav", level * generator.standard_normal(80_000), 16_000)
    write_stage(tmp_path / "stage5b", chunk_frames=[16], left_chunks=[1], sink_frames=[16])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        recognizer = Recognizer.from_pretrained(
            tmp_path / "stage5b", method=method, endpoint=EndpointRules()
        )
        report = soak(recognizer, data, minutes=5)
    finally:
        torch.set_num_threads(threads)
    assert len(report.memory_mb) == 5
    assert report.memory_growth <= MEMORY_BOUND
