"""Trains one sub-stage with ESPnet's trainer: begin, resume or redo, and a stamp at the end."""

from __future__ import annotations

import logging
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from espnet_local.audio import AudioReader
from espnet_local.cli import LOG_FORMAT
from espnet_local.config import BEST_CHECKPOINT, from_mapping, to_mapping
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.files import atomic_open, read_table, write_table, write_text
from espnet_local.provenance import provenance
from espnet_local.stamp import write_stamp
from espnet_local.tokens import Tokenizer
from espnet_local.training.espnet_check import write_config
from espnet_local.training.initial import InitialWeights, pretrained_weights
from espnet_local.training.setup import AUDIO_TYPE, Setup
from espnet_local.training.warm_start import learn_ctc, learn_log_mel, save_warm_start

log = logging.getLogger(__name__)

INPUTS_NAME = ".inputs"  # the fingerprint a folder was begun with


class Result(NamedTuple):
    """Validation of the best epoch."""

    epoch: int
    loss: float  # transducer + weighted CTC, nats an utterance
    wer: float  # % of words, greedy


def train_substage(setup: Setup, report: Callable[[str], None]) -> Result:
    """Trains a sub-stage to its end and stamps its folder.

    A folder begun with the same inputs is resumed; one with other inputs is moved aside.

    Args:
        setup: what to train.
        report: receives progress lines.

    Returns:
        The validation of the epoch whose checkpoint the children start from.
    """
    # ESPnet takes ten seconds and more; plotting and checking never come here.
    from espnet_local.task import ReportingTrainer, XlsrTransducerTask

    named = _named_weights(setup)
    fingerprint = setup.fingerprint()
    _prepare_folder(setup.folder, fingerprint)
    log_file = logging.FileHandler(setup.folder / "train.log")
    log_file.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger().addHandler(log_file)
    try:
        config = complete_config(setup)
        if named is None:
            config["init_param"] = _warm_start(setup, report)
        else:
            config["init_param"] = named.init_params(setup.folder)
        path = write_config(setup, config)
        ReportingTrainer.report = staticmethod(report)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # ESPnet's use of torch.cuda.amp
            parser = XlsrTransducerTask.get_parser()
            XlsrTransducerTask.main(args=parser.parse_args(["--config", path]))
        result = _best_epoch(setup.folder, setup.espnet["max_epoch"])
    finally:
        logging.getLogger().removeHandler(log_file)
        log_file.close()
    write_stamp(
        setup.folder,
        fingerprint,
        substage=setup.substage,
        parent=setup.parent.name if setup.parent else "pretrained",
        parent_fingerprint=setup.parent.fingerprint if setup.parent else None,
        pretrained=None if setup.parent else setup.options.pretrained,
        contexts=to_mapping(_encoder_spec(setup).contexts),
        best_epoch=result.epoch,
        valid_loss=result.loss,
        valid_wer=result.wer,
        seed=setup.options.seed,
        corpus={"name": setup.options.data.name, "fingerprint": setup.corpus_fingerprint()},
        made_by=provenance(),
    )
    return result


def _prepare_folder(folder: Path, fingerprint: str) -> None:
    """Makes the folder, keeps one begun with these inputs, moves any other aside."""
    inputs = folder / INPUTS_NAME
    if folder.exists() and (not inputs.exists() or inputs.read_text().strip() != fingerprint):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.replaced{number}")).exists():
            number += 1
        folder.rename(aside)
        log.warning("%s was made from other inputs: kept as %s", folder, aside)
    if folder.exists():
        log.info("%s: going on where it stopped", folder)
        _mend_checkpoints(folder)
    write_text(inputs, fingerprint + "\n")


def _mend_checkpoints(folder: Path) -> None:
    """Brings the files that a kill left half-done in line with the newest whole checkpoint.

    ESPnet writes `checkpoint.pth`, then the epoch's weights, then the link to the best epoch.
    """
    path = folder / "checkpoint.pth"
    if not path.exists():
        return
    try:
        states = torch.load(path, map_location="cpu", weights_only=False)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        log.warning("%s is cut short (%s): beginning anew", path, error)
        path.unlink()
        return
    last, best = max(states["reporter"]["stats"]), _best(states).epoch
    with atomic_open(folder / f"{last}epoch.pth", "wb") as stream:
        torch.save(states["model"], stream)
    if not (folder / f"{best}epoch.pth").exists():
        log.warning("%s: the weights of epoch %d are lost: beginning anew", folder, best)
        path.unlink()
        return
    link = folder / BEST_CHECKPOINT
    link.unlink(missing_ok=True)
    link.symlink_to(f"{best}epoch.pth")


def _encoder_spec(setup: Setup) -> EncoderSpec:
    return from_mapping(EncoderSpec, setup.espnet["encoder_conf"], "encoder_conf")


def complete_config(setup: Setup) -> dict[str, Any]:
    """ESPnet's config with the files of this run."""
    options, folder, encoder = setup.options, setup.folder, _encoder_spec(setup)
    # The folder is complete in itself: decoding and sharing need nothing beside it.
    shutil.copyfile(options.tokens / "bpe.model", folder / "bpe.model")
    config = dict(setup.espnet)
    config.update(
        output_dir=str(folder),
        ngpu=options.ngpu,
        multiprocessing_distributed=options.ngpu > 1,
        resume=True,
        token_type="bpe",
        # ESPnet's own inference finds it from any working directory; ours looks beside the config.
        bpemodel=str((folder / "bpe.model").absolute()),
        token_list=str(options.tokens / "tokens.txt"),
        best_model_criterion=[["valid", "wer", "min"]],
        # Weights of a held transformer or a dropped layer get no gradient in a batch.
        unused_parameters=encoder.thaw_after_batches > 0 or encoder.layer_drop > 0,
    )
    for mode, name in (("train", "train"), ("valid", "dev")):
        source = options.data / name
        shape = folder / f"{mode}_speech_shape"
        usable = read_table(options.tokens / f"{name}_text_shape")
        samples = read_table(source / "utt2num_samples")
        write_table(shape, {utt: samples[utt] for utt in usable})
        config[f"{mode}_data_path_and_name_and_type"] = [
            [str(source / "wav.scp"), "speech", AUDIO_TYPE],
            [str(source / "text"), "text", "text"],
        ]
        config[f"{mode}_shape_file"] = [str(shape)]
    return config


def _named_weights(setup: Setup) -> InitialWeights | None:
    """The weights of the parent or of a pretrained encoder, None where neither is named.

    Raises:
        FileNotFoundError, ValueError: for pretrained weights that cannot be had or do not fit.
    """
    if setup.parent is not None:
        # All weights; the count of batches begins anew with the draws of this sub-stage.
        return InitialWeights(init_param=f"{setup.parent.checkpoint}:::encoder.train_batches")
    if setup.options.pretrained is not None:
        return pretrained_weights(
            setup.options.pretrained,
            setup.options.tokens,
            _encoder_spec(setup),
            setup.options.trust_pickle,
            setup.espnet,
        )
    return None


def _warm_start(setup: Setup, report: Callable[[str], None]) -> list[str]:
    """ESPnet's `init_param` for random weights: none, or those of the warm start."""
    if setup.recipe.warm_start.steps == 0:
        return []
    path = setup.folder / "warm_start.pth"
    if not path.exists():
        make_warm_start(setup, path, report)
    return [f"{path}:::encoder.train_batches"]


def make_warm_start(setup: Setup, path: Path, report: Callable[[str], None]) -> None:
    """Brings random weights to where a transducer begins to learn, and writes them to `path`."""
    spec, options = setup.recipe.warm_start, setup.options
    train = options.data / "train"
    audio = AudioReader(train / "wav.scp")
    tokenizer = Tokenizer.from_dir(options.tokens)
    usable = read_table(options.tokens / "train_text_shape")
    texts, samples = read_table(train / "text"), read_table(train / "utt2num_samples")
    torch.manual_seed(options.seed)
    encoder = StreamingEncoder(_encoder_spec(setup))
    output = torch.nn.Linear(encoder.output_size(), len(tokenizer.tokens))
    learn_log_mel(encoder, audio, spec, options.seed, report)
    learn_ctc(
        encoder,
        output,
        audio,
        {utt: tokenizer.encode(texts[utt]) for utt in usable},
        {utt: int(samples[utt]) for utt in usable},
        spec,
        options.seed,
        report,
    )
    save_warm_start(encoder, output, path)


def _best_epoch(folder: Path, epochs: int) -> Result:
    """The epoch whose weights the link names, with its validation.

    Raises:
        ValueError: when ESPnet stopped early, as it does when an epoch had no finite gradient.
        RuntimeError: when the link does not name the best epoch, which would be ESPnet's mistake.
    """
    states = torch.load(folder / "checkpoint.pth", map_location="cpu", weights_only=False)
    last = max(states["reporter"]["stats"])
    if last < epochs:
        raise ValueError(
            f"{folder}: training stopped after epoch {last} of {epochs}, without a finite gradient "
            "in a whole epoch; look at train.log, and lower optim_conf.lr"
        )
    result = _best(states)
    named = (folder / BEST_CHECKPOINT).resolve(strict=True).name
    if named != f"{result.epoch}epoch.pth":
        raise RuntimeError(f"{folder / BEST_CHECKPOINT} names {named}, best is {result.epoch}")
    return result


def _best(states: dict[str, Any]) -> Result:
    """The first of the epochs with the lowest WER, as ESPnet chooses."""
    valid = {epoch: stats["valid"] for epoch, stats in states["reporter"]["stats"].items()}
    epoch = min(sorted(valid), key=lambda e: valid[e]["wer"])
    return Result(epoch, float(valid[epoch]["loss"]), float(valid[epoch]["wer"]))
