"""Streaming recognition with a trained model, in the verbs of sherpa-onnx.

    recognizer = Recognizer.from_pretrained("exp/mini_tiny/stage5b")
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, samples)     # any number of samples, any rate, any time
    while recognizer.is_ready(stream):
        recognizer.decode_streams([stream])     # many streams at once, one chunk of each
    print(recognizer.get_result(stream).text)

B streams, N samples. No ESPnet is imported here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_local.config import FRAME_MS, ContextSpec, nearest
from espnet_local.decode.device import make_device
from espnet_local.decode.endpoint import EndpointRules
from espnet_local.decode.methods import make_search
from espnet_local.decode.model import LoadedModel, load_model
from espnet_local.decode.search import Method
from espnet_local.decode.stream import Result, Stream
from espnet_local.encoder.cache import OVERLAP_SAMPLES, chunk_samples
from espnet_local.state import select, stack

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Recognizer:
    """Recognises many streams with one model. Weights are shared; streams share nothing.

    Args:
        loaded: the model, on its device and in its type.
        context: chunk, left context and sinks.
        method: "greedy" or "beam".
        beam: hypotheses that beam search keeps.
        endpoint: when segments end; None: never before the input does.

    Raises:
        ValueError: for full context, which cannot stream, or a bad method or beam.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        context: ContextSpec,
        method: Method = "greedy",
        beam: int = 4,
        endpoint: EndpointRules | None = None,
    ) -> None:
        if context.chunk_frames is None:
            raise ValueError("a stream needs chunks: the context must have a chunk_ms")
        self.context = context
        self.endpoint = endpoint
        self.tokenizer = loaded.tokenizer
        self._encoder = loaded.model.encoder
        self._device = next(loaded.model.parameters()).device
        self._window = chunk_samples(context.chunk_frames)
        self._search = make_search(loaded, method, beam)
        # Values, so that every new stream can begin with the same ones.
        self._encoder_start = self._encoder.init_state(1, context)
        self._search_start = self._search.init_state(1, self._device)

    @classmethod
    def from_pretrained(
        cls,
        model_dir: str | Path,
        *,
        chunk_ms: int | None = None,
        left_chunks: int | Literal["all"] | None = None,
        sink_frames: int | None = None,
        method: Method = "greedy",
        beam: int = 4,
        endpoint: EndpointRules | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        checkpoint: str | None = None,
    ) -> Recognizer:
        """Loads what training wrote.

        Args:
            model_dir: the folder of a sub-stage, such as `exp/mini_tiny/stage5b`, or what it was
                packed into: `model.zip`, or the folder that ESPnet unpacked from it.
            chunk_ms, left_chunks, sink_frames: the context; what is not given is as in training.
                One that the model was not trained for works, with a warning in the log. Left
                context "all" needs memory that grows with the stream.
            method, beam, endpoint: as above.
            device: cpu, cuda, cuda:1.
            dtype: float32, bfloat16 or float16, of weights and encoder.
            checkpoint: a file in a sub-stage's folder, None for the best one.

        Raises:
            FileNotFoundError, ValueError: naming the file or option that is wrong.
        """
        if dtype not in DTYPES:
            listed = ", ".join(DTYPES)
            raise ValueError(
                f"dtype must be one of {listed}, got {dtype!r}{nearest(dtype, DTYPES)}"
            )
        place = make_device(device)
        loaded = load_model(model_dir, checkpoint)
        contexts = loaded.model.encoder.spec.contexts
        context = _chosen_context(contexts.first, chunk_ms, left_chunks, sink_frames)
        trained = contexts.contexts()
        if context not in trained:
            names = ", ".join(c.name for c in trained)
            log.warning("%s: trained under %s, streams under %s", model_dir, names, context.name)
        loaded.model.to(place, DTYPES[dtype])
        return cls(loaded, context, method, beam, endpoint)

    def create_stream(self) -> Stream:
        """A new stream, before its first sample."""
        return Stream(self, self._encoder_start, self._search_start)

    def is_ready(self, stream: Stream) -> bool:
        """Whether a chunk of the stream can be decoded, or its end."""
        if stream.decoded:
            return False
        return stream.input_is_finished or stream.waiting_samples >= self._missing(stream)

    def decode_streams(self, streams: Sequence[Stream]) -> None:
        """Decodes one chunk of each stream, all in one batch.

        Args:
            streams: ready ones, each once; of any ages.

        Raises:
            ValueError: for a stream that is not ready, comes twice or is of another recognizer.
        """
        if len({id(stream) for stream in streams}) < len(streams):
            raise ValueError("a stream must not come twice in one call")
        for number, stream in enumerate(streams):
            if stream.owner is not self:
                raise ValueError(f"stream {number} of {len(streams)} is of another recognizer")
            if not self.is_ready(stream):
                raise ValueError(f"stream {number} of {len(streams)} is not ready")
        if not streams:
            return
        pieces = [stream.peek(self._missing(stream)) for stream in streams]
        last = [
            stream.input_is_finished and len(piece) == stream.waiting_samples
            for stream, piece in zip(streams, pieces)
        ]
        encoded = self._encoder.step(
            pad_sequence(pieces, batch_first=True).to(self._device),
            stack([stream.encoder_state for stream in streams]),
            torch.tensor([len(piece) for piece in pieces], device=self._device),
            torch.tensor(last, device=self._device),
        )
        before = stack([stream.search_state for stream in streams])
        found = self._search.advance(before, encoded.frames, encoded.lengths)
        pending = self._search.pending(found.state)
        counts = encoded.lengths.tolist()
        for i, stream in enumerate(streams):
            stream.encoder_state = select(encoded.state, [i])
            stream.search_state = select(found.state, [i])
            stream.drop(len(pieces[i]))
            stream.decoded = last[i]
            stream.extend(found.emitted[i], pending[i], counts[i])
            if self.endpoint is not None and not stream.decoded:
                stream.update_endpoint(self.endpoint, self.tokenizer)

    def get_result(self, stream: Stream) -> Result:
        """What is recognised of the stream's current segment.

        At an endpoint that is the closed segment, until `reset`. Joined over the segments of a
        stream, the tokens and their times are those of a stream without endpoints; a pause within
        a word may put its halves into two segments.
        """
        return stream.result(self.tokenizer)

    def is_endpoint(self, stream: Stream) -> bool:
        """Whether the current segment is over; its result is final then, until `reset`."""
        return stream.endpoint is not None

    def reset(self, stream: Stream) -> None:
        """Begins a new segment.

        Encoder and search go on as they are. Without an endpoint, labels that are not stable yet
        pass to the new segment.
        """
        stream.close_segment()

    def _missing(self, stream: Stream) -> int:
        """Samples that the stream's next chunk lacks besides those in its encoder state."""
        return self._window - (OVERLAP_SAMPLES if stream.frames_seen else 0)


def _chosen_context(
    own: ContextSpec,
    chunk_ms: int | None,
    left_chunks: int | Literal["all"] | None,
    sink_frames: int | None,
) -> ContextSpec:
    """The model's own context with what was asked for in its place."""
    for name, value in (("chunk_ms", chunk_ms), ("sink_frames", sink_frames)):
        if value is not None and type(value) is not int:
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    if left_chunks not in (None, "all") and type(left_chunks) is not int:
        raise ValueError(f"left_chunks must be a whole number or 'all', got {left_chunks!r}")
    chunk_frames = own.chunk_frames
    if chunk_ms is not None:
        if chunk_ms < FRAME_MS or chunk_ms % FRAME_MS:
            raise ValueError(f"chunk_ms must be a multiple of {FRAME_MS} ms, got {chunk_ms}")
        chunk_frames = chunk_ms // FRAME_MS
    if chunk_frames is None:
        raise ValueError("the model was trained in full context: a stream needs a chunk_ms")
    left = own.left_chunks if left_chunks is None else left_chunks
    return ContextSpec(
        chunk_frames=chunk_frames,
        left_chunks=None if isinstance(left, str) else left,
        sink_frames=own.sink_frames if sink_frames is None else sink_frames,
    )
