"""The transducer as an ESPnet model: losses in training, WER besides in validation.

B batch, N samples, T frames, U tokens, D width, V vocabulary.
"""

from __future__ import annotations

import kaldialign
import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.abs_decoder import AbsDecoder
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.asr.espnet_model import ESPnetASRModel
from espnet2.torch_utils.device_funcs import force_gatherable
from torch import Tensor, nn

from espnet_local.config import from_mapping
from espnet_local.decode.greedy import greedy_search
from espnet_local.tokens import pieces_to_text
from espnet_local.transducer.joiner import Joiner
from espnet_local.transducer.losses import make_loss
from espnet_local.transducer.spec import TransducerSpec


class XlsrTransducerModel(ESPnetASRModel):
    """Encoder, stateless predictor and joiner; `model: xlsr_transducer` in a config.

    The arguments are those ESPnet's ASR task passes to every model; frontend, specaug, normalize,
    preencoder and postencoder must be None, because the encoder takes raw samples and masks its own
    features. `model_conf` holds the fields of `TransducerSpec`.

    Raises:
        ValueError: for a part that does not belong here or an unknown key of `model_conf`.
    """

    def __init__(
        self,
        vocab_size: int,
        token_list: tuple[str, ...] | list[str],
        encoder: AbsEncoder,
        decoder: AbsDecoder,
        ctc: CTC,
        joint_network: nn.Module | None = None,
        frontend: None = None,
        specaug: None = None,
        normalize: None = None,
        preencoder: None = None,
        postencoder: None = None,
        **model_conf: object,
    ) -> None:
        parts = {
            "frontend": frontend,
            "specaug": specaug,
            "normalize": normalize,
            "preencoder": preencoder,
            "postencoder": postencoder,
            "joint_network": joint_network,
        }
        for name, part in parts.items():
            if part is not None:
                raise ValueError(f"{name} must be null with model xlsr_transducer, got {part}")
        spec = from_mapping(TransducerSpec, model_conf, "model_conf")
        super().__init__(
            vocab_size=vocab_size,
            token_list=list(token_list),
            frontend=None,
            specaug=None,
            normalize=None,
            preencoder=None,
            encoder=encoder,
            postencoder=None,
            decoder=decoder,
            ctc=ctc,
            # ESPnet's constructor would import warprnnt_pytorch, which no index has.
            joint_network=None,
            ctc_weight=spec.ctc_weight,
            report_cer=False,
            report_wer=False,
        )
        del self.criterion_att  # made for attention decoders
        self.spec = spec
        self.use_transducer_decoder = True  # ESPnet's inference asks for it
        self.joint_network = Joiner(vocab_size, encoder.output_size(), decoder.dunits, spec.joiner)
        self.transducer_loss = make_loss(spec.loss)

    def forward(
        self,
        speech: Tensor,
        speech_lengths: Tensor,
        text: Tensor,
        text_lengths: Tensor,
        **kwargs: object,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss and statistics of a batch.

        Args:
            speech: (B, N) samples in [-1, 1].
            speech_lengths: (B,).
            text: (B, U) token ids, padded with -1.
            text_lengths: (B,).

        Returns:
            The loss (mean over utterances), the statistics, and their weight: utterances in
            training, words of the reference in evaluation, which makes ESPnet's weighted mean of
            `wer` the WER of the whole set.
        """
        text = text[:, : int(text_lengths.max())]
        frames, frame_lengths = self.encode(speech, speech_lengths)
        stats: dict[str, Tensor] = {}
        loss = self._transducer(frames, frame_lengths, text, text_lengths).mean()
        stats["loss_transducer"] = loss.detach()
        if self.ctc is not None:
            loss_ctc = self.ctc(frames, frame_lengths, text, text_lengths)
            stats["loss_ctc"] = loss_ctc.detach()
            loss = loss + self.spec.ctc_weight * loss_ctc
        stats["loss"] = loss.detach()
        weight = len(speech)
        if not self.training:
            errors, weight = self._word_errors(frames, frame_lengths, text, text_lengths)
            stats["wer"] = loss.new_tensor(100.0 * errors / max(weight, 1))
        return force_gatherable((loss, stats, weight), loss.device)

    def _transducer(
        self, frames: Tensor, frame_lengths: Tensor, text: Tensor, text_lengths: Tensor
    ) -> Tensor:
        """(B,) losses of (B, T, D) frames against (B, U) tokens."""
        targets = text.masked_fill(text < 0, self.blank_id)
        history = nn.functional.pad(targets, (1, 0), value=self.blank_id)  # (B, U + 1)
        logits = self.joint_network(frames[:, :, None], self.decoder(history)[:, None])
        return self.transducer_loss(logits, targets, frame_lengths, text_lengths, self.blank_id)

    @torch.no_grad()
    def _word_errors(
        self, frames: Tensor, frame_lengths: Tensor, text: Tensor, text_lengths: Tensor
    ) -> tuple[int, int]:
        """Word errors of greedy decoding and words of the reference, over the batch."""
        errors = words = 0
        hypotheses = greedy_search(self.decoder, self.joint_network, frames, frame_lengths)
        for hypothesis, ids, length in zip(hypotheses, text.tolist(), text_lengths.tolist()):
            reference = self._text(ids[:length]).split()
            errors += kaldialign.edit_distance(reference, self._text(hypothesis.tokens).split())[
                "total"
            ]
            words += len(reference)
        return errors, words

    def _text(self, ids: list[int] | tuple[int, ...]) -> str:
        return pieces_to_text([self.token_list[i] for i in ids])
