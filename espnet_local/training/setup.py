"""What one sub-stage is trained with: ESPnet's config, the files it reads, and their fingerprint.

No torch here, so that an unchanged sub-stage is recognised before anything heavy is imported.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from espnet_local.config import from_mapping, load_yaml, nearest, to_mapping
from espnet_local.encoder.pretrained.cache import weight_files
from espnet_local.encoder.spec import EncoderSpec
from espnet_local.files import fingerprint
from espnet_local.stamp import read_stamp
from espnet_local.training.plan import (
    PRETRAINED,
    Parent,
    Plan,
    load_plan,
    merge,
    stage_dir,
    stage_of,
)
from espnet_local.training.spec import RecipeSpec, WarmStartSpec

AUDIO_TYPE = "scaled_audio"  # our data type in ESPnet, see espnet_local.task
# Options of ESPnet that change no weight.
WITHOUT_EFFECT = {
    "num_workers", "log_interval", "use_tensorboard", "use_matplotlib", "max_cache_size",
    "num_att_plot",
}  # fmt: skip
DEBUG_EPOCH_BATCHES = 4
DEBUG_WARM_START_STEPS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """The choices of a `run.sh` call that shape training."""

    data: Path  # data/<corpus>, with train and dev in it
    tokens: Path  # token_list/<type>_<size>
    expdir: Path  # exp/<tag>
    ngpu: int = 0
    seed: int = 0
    debug: bool = False
    pretrained: str | None = None  # what stage 1 starts from, see `encoder.pretrained`
    trust_pickle: bool = False  # it may execute what it holds

    def __post_init__(self) -> None:
        if self.ngpu < 0:
            raise ValueError(f"ngpu must be >= 0, got {self.ngpu}")
        for name in ("expdir", "pretrained"):
            value = getattr(self, name)
            if value is not None and ":" in str(value):
                # ESPnet's init_param puts a path and parts of a model together with colons.
                raise ValueError(f"{name} must not hold a colon, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """One sub-stage, ready to be trained."""

    substage: str
    folder: Path
    espnet: dict[str, Any]  # ESPnet's config, without the files
    recipe: RecipeSpec
    parent: Parent | None
    options: TrainingOptions

    def input_files(self) -> list[Path]:
        """Every file that the result depends on.

        Raises:
            FileNotFoundError: when one is missing.
        """
        options = self.options
        files = [options.tokens / "bpe.model", options.tokens / "tokens.txt"]
        # The corpus's stamp knows the audio; without one, wav.scp has to stand for it.
        tables = ["text", "utt2num_samples"] + ([] if self.corpus_fingerprint() else ["wav.scp"])
        for name in ("train", "dev"):
            files += [options.data / name / table for table in tables]
            files.append(options.tokens / f"{name}_text_shape")
        if self.parent is not None:
            files.append(self.parent.checkpoint)
        elif options.pretrained is not None:
            files += weight_files(options.pretrained)
        for path in files:
            if not path.exists():
                raise FileNotFoundError(2, "no such file", str(path))
        return files

    def corpus_fingerprint(self) -> str | None:
        """That of the prepared data, None for data that was not prepared here."""
        stamp = read_stamp(self.options.data)
        return stamp["fingerprint"] if stamp else None

    def fingerprint(self) -> str:
        """Equal when config, data, tokens and parent are equal."""
        values = {
            "espnet": {k: v for k, v in self.espnet.items() if k not in WITHOUT_EFFECT},
            "corpus": self.corpus_fingerprint(),
            "recipe": to_mapping(self.recipe) if self.parent is None else None,
            "parent": self.parent.fingerprint if self.parent else None,
        }
        return fingerprint(values, self.input_files())


class SizeConfig(NamedTuple):
    """A size's config."""

    espnet: dict[str, Any]  # ESPnet's part
    recipe: RecipeSpec
    files: str  # that it was read from, for messages


def load_size(path: Path, overrides: Path | None = None) -> SizeConfig:
    """Reads a size's config: over the size that its `base` names, and under a corpus's changes.

    Args:
        path: `conf/<size>.yaml`; its `base` is another size in the same folder.
        overrides: folder where a corpus changes single values, in files of the same names.

    Raises:
        ValueError: for a misspelt key of ours; ESPnet's are the matter of `espnet_check`.
    """
    config, files = _layers(path, overrides, [])
    names = " with ".join(map(str, files))
    try:
        recipe = from_mapping(RecipeSpec, config.pop("recipe", {}), "recipe")
        _check_numbers(config)
        from_mapping(EncoderSpec, config["encoder_conf"], "encoder_conf")
    except ValueError as error:
        raise ValueError(f"{names}: {error}") from None
    return SizeConfig(espnet=config, recipe=recipe, files=names)


def _layers(
    path: Path, overrides: Path | None, above: list[Path]
) -> tuple[dict[str, Any], list[Path]]:
    """The merged config and its files, the most particular first."""
    config = load_yaml(path)
    files = [path]
    base = config.pop("base", None)
    if base is not None:
        if not isinstance(base, str) or path in above:
            raise ValueError(f"{path}: base must name another size, got {base!r}")
        under, its_files = _layers(path.with_name(f"{base}.yaml"), overrides, [*above, path])
        config = merge(under, config)
        files += its_files
    if overrides is not None and (own := overrides / path.name).exists():
        changes = load_yaml(own)
        if "base" in changes:
            raise ValueError(f"{own}: base stands in conf/{path.name} alone")
        config = merge(config, changes)
        files.insert(1, own)
    return config, files


class Configs(NamedTuple):
    """The config files of a call."""

    plan: Plan
    size: SizeConfig


def load_configs(conf: Path, size: str, corpus: str, plan: Path) -> Configs:
    """Reads the plan and a size, with what a corpus changes in them.

    Args:
        conf: folder of the sizes.
        size: one of them.
        corpus: whose folder in egs/ may hold changes.
        plan: the plan's file.

    Raises:
        ValueError: for a mistake in one, naming the file.
    """
    if not (conf / f"{size}.yaml").exists():
        sizes = sorted({path.stem for path in conf.glob("*.yaml")} - {"stages", "decode"})
        raise ValueError(
            f"{conf} has no {size}.yaml: size must be one of {', '.join(sizes)}"
            f"{nearest(size, sizes)}"
        )
    own = Path("egs/xlsr_transducer") / corpus / "conf"
    stages = own / "stages.yaml"
    return Configs(
        plan=load_plan(plan, stages if stages.exists() else None),
        size=load_size(conf / f"{size}.yaml", own),
    )


def _check_numbers(config: dict[str, Any]) -> None:
    """The values that are reckoned with here, before ESPnet sees them."""
    for key in ("num_iters_per_epoch", "optim_conf", "encoder_conf"):
        if key not in config:
            raise ValueError(f"missing key {key!r}")
    for key in ("num_iters_per_epoch", "accum_grad"):
        value = config.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{key} must be an integer >= 1, got {value!r}")
    if config.get("accum_grad", 1) > config["num_iters_per_epoch"]:
        raise ValueError(
            f"accum_grad must be <= num_iters_per_epoch={config['num_iters_per_epoch']}, or there "
            f"is no update, got {config['accum_grad']}"
        )
    optimiser = config["optim_conf"]
    if not isinstance(optimiser, dict):
        raise ValueError(f"optim_conf must be a mapping, got {optimiser!r}")
    lr = optimiser.get("lr")
    if "lr" not in optimiser:
        raise ValueError(
            "optim_conf.lr must be a number > 0 such as 2.0e-3, got none; "
            f"optim_conf has {', '.join(map(str, optimiser)) or 'nothing'}"
        )
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not 0 < lr < math.inf:
        # YAML takes 2e-3 for a string: it wants 2.0e-3.
        raise ValueError(f"optim_conf.lr must be a number > 0 such as 2.0e-3, got {lr!r}")


def make_setup(
    plan: Plan,
    substage: str,
    size: SizeConfig,
    parent: Parent | None,
    options: TrainingOptions,
) -> Setup:
    """Joins the size's config with what the plan says of the sub-stage."""
    spec = plan.substages[substage]
    config, recipe = copy.deepcopy(size.espnet), size.recipe
    encoder_conf = config["encoder_conf"]
    # What the encoder starts from is no part of what it is: stage 1 alone asks for it.
    named = encoder_conf.pop("pretrained", None)
    options = dataclasses.replace(options, pretrained=options.pretrained or named)
    epochs = spec.epochs
    if options.debug:
        epochs = 1
        config["num_iters_per_epoch"] = DEBUG_EPOCH_BATCHES
        config["accum_grad"] = min(config.get("accum_grad", 1), DEBUG_EPOCH_BATCHES)
        recipe = RecipeSpec(warm_start=_shortened(recipe.warm_start))
    updates = epochs * (config["num_iters_per_epoch"] // config.get("accum_grad", 1))
    peak = config["optim_conf"]["lr"] * spec.lr_scale
    config["optim_conf"]["lr"] = peak
    lr_scale = encoder_conf.get("lr_scale", 1.0)
    config["scheduler"] = "onecyclelr"
    config["scheduler_conf"] = {
        # The encoder is ESPnet's second group of weights, see `task.py`.
        "max_lr": peak if lr_scale == 1.0 else [peak, peak * lr_scale],
        "total_steps": updates + 1,  # torch raises after the last one, and ESPnet steps after it
        "pct_start": spec.warmup_share,
        "anneal_strategy": "linear",
        "cycle_momentum": False,
        "final_div_factor": 100.0,
    }
    config["max_epoch"] = epochs
    config["seed"] = options.seed
    encoder_conf["contexts"] = to_mapping(spec.contexts)
    encoder_conf["seed"] = options.seed
    if stage_of(substage) > 1:
        # The transformer is held only while predictor and joiner are still random.
        encoder_conf["thaw_after_batches"] = 0
    if (
        spec.parent == PRETRAINED
        and encoder_conf.get("freeze_frontend")
        and options.pretrained is None
        and recipe.warm_start.steps == 0
    ):
        raise ValueError(
            f"sub-stage {substage}: freeze_frontend keeps random weights without a pretrained "
            "encoder; name one (--pretrained) or set freeze_frontend: false"
        )
    return Setup(
        substage=substage,
        folder=stage_dir(options.expdir, substage),
        espnet=config,
        recipe=recipe,
        parent=parent,
        options=options,
    )


def _shortened(spec: WarmStartSpec) -> WarmStartSpec:
    return dataclasses.replace(
        spec,
        log_mel_steps=min(spec.log_mel_steps, DEBUG_WARM_START_STEPS),
        ctc_steps=min(spec.ctc_steps, DEBUG_WARM_START_STEPS),
    )
