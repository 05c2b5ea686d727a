"""The XLSR encoder with attention contexts that a stream can keep.

Three places of wav2vec 2.0 look into the future: attention, the symmetric positional convolution,
and the normalisation of the waveform over the utterance. Under a chunked context all three end at
the edge of the frame's own chunk (plus 80 samples of the front end's receptive field).
B batch, N samples, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import remove_parametrizations
from torch.utils.checkpoint import checkpoint
from torchaudio.models import wav2vec2_model
from torchaudio.models.wav2vec2.components import EncoderLayer

from espnet_local.config import ContextSpec
from espnet_local.encoder.block import attend, project
from espnet_local.encoder.cache import EncoderState, initial_state
from espnet_local.encoder.feature_mask import FeatureMask
from espnet_local.encoder.frontend import extract_features, frame_count
from espnet_local.encoder.position import positional_embedding
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.step import StepOutput, step
from espnet_local.encoder.waveform import normalise_waveform
from espnet_local.masks import attention_mask, padding_mask


class StreamingEncoder(nn.Module):
    """wav2vec 2.0 with a layer-norm extractor, under an attention context.

    Args:
        spec: size, contexts and regularisation.
    """

    # Batches seen in training: numbers the context draws; kept in checkpoints for resuming.
    train_batches: Tensor

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        shape = spec.architecture
        model = wav2vec2_model(
            extractor_mode="layer_norm",
            extractor_conv_layer_config=[list(layer) for layer in shape.conv_layers],
            extractor_conv_bias=True,
            encoder_embed_dim=shape.dim,
            encoder_projection_dropout=spec.dropout,
            encoder_pos_conv_kernel=shape.position_kernel,
            encoder_pos_conv_groups=shape.position_groups,
            encoder_num_layers=shape.layers,
            encoder_num_heads=shape.heads,
            encoder_attention_dropout=spec.attention_dropout,
            encoder_ff_interm_features=shape.feed_forward_dim,
            encoder_ff_interm_dropout=spec.dropout,
            encoder_dropout=spec.dropout,
            encoder_layer_norm_first=True,
            encoder_layer_drop=spec.layer_drop,
            aux_num_out=None,
        )
        # torchaudio's names are kept, so that weights of its bundles need no renaming.
        self.feature_extractor = model.feature_extractor
        self.encoder = model.encoder
        self.feature_mask = FeatureMask(spec.feature_mask, shape.dim)
        self.register_buffer("train_batches", torch.zeros((), dtype=torch.long))
        if spec.freeze_frontend:
            self.feature_extractor.requires_grad_(False)

    def bake_weights(self) -> None:
        """Turns weight normalisation into plain weights, once, for inference.

        Of XLSR's positional convolution it would be worked out anew for every chunk: 8 M numbers.
        """
        remove_parametrizations(self.encoder.transformer.pos_conv_embed.conv, "weight")

    def output_size(self) -> int:
        """D, the width of a frame."""
        return self.spec.architecture.dim

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: None = None
    ) -> tuple[Tensor, Tensor, None]:
        """ESPnet's encoder call: the context is drawn in training, the first one in evaluation.

        Args:
            xs_pad: (B, N) samples in [-1, 1].
            ilens: (B,) samples of each utterance.

        Returns:
            (B, T, D) frames, (B,) frame counts, None.
        """
        if not self.training:
            frames, lengths = self.forward_context(xs_pad, ilens, self.spec.contexts.first)
            return frames, lengths, None
        batch = int(self.train_batches)
        self.train_batches += 1
        context = self.spec.contexts.draw(self.spec.seed, batch)
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and batch >= self.spec.thaw_after_batches
        ):
            frames, lengths = self.forward_context(xs_pad, ilens, context)
        return frames, lengths, None

    def forward_context(
        self, samples: Tensor, lengths: Tensor, context: ContextSpec
    ) -> tuple[Tensor, Tensor]:
        """Encodes whole utterances as a stream under `context` would.

        Args:
            samples: (B, N) in [-1, 1].
            lengths: (B,) samples of each utterance.
            context: what each frame may attend to.

        Returns:
            (B, T, D) frames, zero where padded, and (B,) frame counts.
        """
        frame_lengths = frame_count(lengths)
        features = extract_features(self.feature_extractor, normalise_waveform(samples).samples)
        x = self.encoder.feature_projection(features)  # (B, T, D)
        x = self.feature_mask(x, frame_lengths)
        real = padding_mask(frame_lengths, x.shape[1])[:, :, None]
        x = x.masked_fill(~real, 0.0)
        transformer = self.encoder.transformer
        x = x + positional_embedding(transformer.pos_conv_embed, x, context.chunk_frames)
        x = transformer.dropout(x)
        mask = attention_mask(frame_lengths, x.shape[1], context)
        for layer in transformer.layers:
            if self.training and torch.rand(()).item() < transformer.layer_drop:
                continue
            x = self._block(layer, x, mask)
        return transformer.layer_norm(x).masked_fill(~real, 0.0), frame_lengths

    def _block(self, layer: EncoderLayer, x: Tensor, mask: Tensor | None) -> Tensor:
        """A transformer block, (B, T, D) -> (B, T, D)."""
        if self.training and self.spec.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(_attended, layer, x, mask, use_reentrant=False)
        return _attended(layer, x, mask)

    def init_state(
        self,
        batch: int,
        context: ContextSpec | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> EncoderState:
        """The state of streams before their first sample.

        Args:
            batch: number of streams.
            context: what each frame may attend to; None: the context of validation. Left context
                "all" is allowed; the state then grows with the stream, without bound.
            device, dtype: of the weights when None.

        Raises:
            ValueError: for full context, which cannot stream, or batch < 0.
        """
        weight = self.encoder.transformer.layer_norm.weight
        return initial_state(
            batch,
            context or self.spec.contexts.first,
            self.spec.architecture,
            device or weight.device,
            dtype or weight.dtype,
        )

    @torch.inference_mode()
    def step(
        self,
        samples: Tensor,
        state: EncoderState,
        lengths: Tensor | None = None,
        last: Tensor | None = None,
    ) -> StepOutput:
        """Takes in samples and gives the frames of the chunks that they complete.

        The frames are those of `forward_context` under the state's context, whatever the packets.

        Args:
            samples: (B, N) in [-1, 1], the next N samples of each stream, N >= 0.
            state: from `init_state` or the step before; it is not changed.
            lengths: (B,) samples that count in each row; None: all.
            last: (B,) bool, True where the stream ends with these samples; None: nowhere.

        Raises:
            ValueError: for shapes that do not fit, samples after the last ones, or in training.
        """
        if self.training:
            raise ValueError("step must be called in evaluation mode, call eval() first")
        batch, device = len(samples), samples.device
        if lengths is None:
            lengths = torch.full((batch,), samples.shape[1], device=device)
        if last is None:
            last = torch.zeros(batch, dtype=torch.bool, device=device)
        return step(self, samples, lengths, last, state)


def _attended(layer: EncoderLayer, x: Tensor, mask: Tensor | None) -> Tensor:
    return attend(layer, x, *project(layer, x), mask)
