"""The audio of one shard of a data set. N samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from espnet_local.audio import AudioReader
from espnet_local.config import RECEPTIVE_SAMPLES, SAMPLE_RATE
from espnet_local.decode.plan import Shard
from espnet_local.files import read_table


class ShardAudio:
    """Utterances with their durations; the audio is read when asked for.

    Args:
        data_dir: with `wav.scp` and `utt2num_samples`.
        shard: which of its utterances.

    Raises:
        FileNotFoundError, ValueError: for a file or a duration that is missing.
    """

    def __init__(self, data_dir: Path, shard: Shard) -> None:
        self._audio = AudioReader(data_dir / "wav.scp")
        path = data_dir / "utt2num_samples"
        table = read_table(path)
        self.samples: dict[str, int] = {}  # by utterance, sorted
        for utterance in sorted(self._audio)[shard.index - 1 :: shard.count]:
            if not table.get(utterance, "").isdecimal():
                raise ValueError(f"{path}: no number of samples for utterance {utterance}")
            self.samples[utterance] = int(table[utterance])

    @property
    def seconds(self) -> float:
        """Of all utterances together."""
        return sum(self.samples.values()) / SAMPLE_RATE

    def read(self, utterance: str) -> np.ndarray:
        """(N,) samples, one frame at least.

        Raises:
            ValueError: naming the utterance, for audio that cannot be decoded.
        """
        try:
            samples = self._audio[utterance]
        except (OSError, ValueError) as error:
            raise ValueError(f"utterance {utterance}: {error}") from None
        if len(samples) < RECEPTIVE_SAMPLES:
            raise ValueError(
                f"utterance {utterance}: must have >= {RECEPTIVE_SAMPLES} samples, one frame, "
                f"got {len(samples)}"
            )
        return samples
