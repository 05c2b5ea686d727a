"""Our parts in ESPnet's ASR task: registration, and the trainer's voice.

ESPnet's registries are dictionaries made to be extended; nothing of ESPnet is replaced.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch
from espnet2.asr.decoder.abs_decoder import AbsDecoder
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from espnet2.tasks.abs_task import optim_classes
from espnet2.tasks.asr import ASRTask, decoder_choices, encoder_choices, model_choices
from espnet2.train import trainer
from espnet2.train.dataset import DATA_TYPES
from espnet2.train.reporter import SubReporter, aggregate

from espnet_local.audio import AudioReader
from espnet_local.config import from_mapping
from espnet_local.encoder.pretrained.fit import encoder_weights
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.model import XlsrTransducerModel
from espnet_local.training.setup import AUDIO_TYPE
from espnet_local.transducer.espnet_interface import EspnetSearchMixin
from espnet_local.transducer.predictor import PredictorSpec


class XlsrStreamingEncoder(StreamingEncoder, AbsEncoder):
    """`encoder: xlsr_streaming`; `encoder_conf` holds the fields of `EncoderSpec`.

    With `pretrained` in an ESPnet config of a user's own, the weights are read here. The recipe
    reads them itself and leaves the key out of the experiment's config, which then needs no file.
    """

    def __init__(self, input_size: int = 1, **encoder_conf: Any) -> None:
        super().__init__(from_mapping(EncoderSpec, encoder_conf, "encoder_conf"))
        if self.spec.pretrained is not None:
            self.load_state_dict(encoder_weights(self.spec.pretrained, self), strict=False)


class EspnetStatelessPredictor(EspnetSearchMixin, AbsDecoder):
    """`decoder: stateless`; `decoder_conf` holds the fields of `PredictorSpec`."""

    def __init__(self, vocab_size: int, encoder_output_size: int, **decoder_conf: Any) -> None:
        super().__init__(vocab_size, from_mapping(PredictorSpec, decoder_conf, "decoder_conf"))


def register() -> None:
    """Makes encoder, decoder, model and data type known to ESPnet; twice does no harm."""
    encoder_choices.classes["xlsr_streaming"] = XlsrStreamingEncoder
    decoder_choices.classes["stateless"] = EspnetStatelessPredictor
    model_choices.classes["xlsr_transducer"] = XlsrTransducerModel
    # ESPnet's kaldi_ark type hands the 16-bit integers of wav files through; we want [-1, 1].
    DATA_TYPES[AUDIO_TYPE] = {
        "func": AudioReader,
        "kwargs": [],
        "help": "wav.scp with files or archives; samples are scaled to [-1, 1].",
    }


def use_float16_where_bfloat16_is_emulated() -> None:
    """For `use_amp`: ESPnet takes bfloat16 where torch has it, which counts emulation as having."""
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        trainer.autocast_args.clear()  # the default of autocast is float16


class ReportingTrainer(trainer.Trainer):
    """ESPnet's trainer, telling how far it is.

    `report` receives one line every few seconds of training and one after each validation.
    """

    report: Callable[[str], None] = staticmethod(logging.info)
    seconds_between_reports = 5.0

    @classmethod
    def train_one_epoch(
        cls, model: Any, iterator: Any, reporter: SubReporter, options: Any, **others: Any
    ) -> bool:
        """One epoch, as ESPnet's, with progress lines; `others` go on to ESPnet as they are."""
        return super().train_one_epoch(
            model=model,
            iterator=cls._counted(iterator, reporter, options),
            reporter=reporter,
            options=options,
            **others,
        )

    @classmethod
    def validate_one_epoch(
        cls, model: Any, iterator: Any, reporter: SubReporter, options: Any, **others: Any
    ) -> None:
        """One validation, as ESPnet's, with its result in a line."""
        super().validate_one_epoch(
            model=model, iterator=iterator, reporter=reporter, options=options, **others
        )
        cls.report(
            f"epoch {reporter.get_epoch()}/{options.max_epoch}: validation loss "
            f"{_mean(reporter, 'loss'):.2f}, WER {_mean(reporter, 'wer'):.1f} %"
        )

    @classmethod
    def _counted(
        cls, iterator: Iterable[Any], reporter: SubReporter, options: Any
    ) -> Iterator[Any]:
        total = len(iterator) if isinstance(iterator, Sized) else None
        said = time.monotonic()
        for number, batch in enumerate(iterator, 1):
            yield batch
            if time.monotonic() - said >= cls.seconds_between_reports:
                said = time.monotonic()
                place = f"{number}/{total}" if total else f"{number}"
                cls.report(
                    f"epoch {reporter.get_epoch()}/{options.max_epoch} batch {place} "
                    f"loss {_mean(reporter, 'loss', last=20):.2f}"
                )


def _mean(reporter: SubReporter, key: str, last: int = 0) -> float:
    """The mean of a statistic, weighted as ESPnet does, over the last values or all."""
    values = reporter.stats.get(key)
    return float(aggregate(values[-last:])) if values else float("nan")


class XlsrTransducerTask(ASRTask):
    """ESPnet's ASR task with our trainer."""

    trainer = ReportingTrainer

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """As ESPnet's, with the encoder's weights as a second group where it learns slower.

        Raises:
            ValueError: for an option of ESPnet that makes groups of its own.
        """
        encoder: Any = model.encoder
        scale = encoder.spec.lr_scale
        if scale == 1.0:
            return super().build_optimizers(args, model)
        if args.exclude_weight_decay or args.sharded_ddp:
            raise ValueError(
                "encoder_conf.lr_scale goes without exclude_weight_decay and sharded_ddp, "
                f"got lr_scale {scale}"
            )
        members = {id(parameter) for parameter in encoder.parameters()}
        groups = [
            {"params": [p for p in model.parameters() if id(p) not in members]},
            {"params": list(encoder.parameters()), "lr": args.optim_conf["lr"] * scale},
        ]
        return [optim_classes[args.optim](groups, **args.optim_conf)]


register()
use_float16_where_bfloat16_is_emulated()
