"""What the settings of a run must hold to, each in one line where they do not.

What belongs here: checks of values against each other. What does not: what needs the network, the
images or the machine.
"""

import math
from typing import TYPE_CHECKING

from mimprobe.errors import OptionError

if TYPE_CHECKING:
    from mimprobe.train.config import TrainConfig

LARGEST_SEED = 2**63
"""PyTorch's generators take seeds of 64 bits."""


def check_settings(config: "TrainConfig") -> None:
    """Check every field.

    Raises:
        OptionError: one is outside its range, or two do not fit each other.
    """
    choices = {
        "objective": ("simmim", "supervised", "finetune"),
        "cache": ("auto", "on", "off"),
        "precision": ("auto", "float32", "bfloat16", "float16", "float64"),
        "schedule": ("cosine", "cosine-after-warmup", "step"),
        "parallel": ("ddp", "fsdp"),
        "export_precision": ("float32", "float16"),
    }
    for name, value in vars(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(f"{name} must be a number, not {value}")
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise OptionError(
                f"{name} {getattr(config, name)!r} is not one of {', '.join(allowed)}"
            )
    for name in (
        "input_size",
        "epochs",
        "batch_size",
        "mask_patch",
        "accumulate",
        "decay_epoch",
    ):
        if getattr(config, name) < 1:
            raise OptionError(f"{name} must be at least 1, not {getattr(config, name)}")
    for name in (
        "workers", "seed", "warmup_epochs", "weight_decay", "min_learning_rate",
        "warmup_learning_rate", "checkpoint_minutes",
    ):  # fmt: skip
        if getattr(config, name) < 0:
            raise OptionError(f"{name} must be at least 0, not {getattr(config, name)}")
    for name in ("base_learning_rate", "clip_norm"):
        if getattr(config, name) <= 0:
            raise OptionError(f"{name} must be above 0, not {getattr(config, name)}")
    for name in ("drop_path", "label_smoothing", "ema_decay"):
        if not 0 <= getattr(config, name) < 1:
            raise OptionError(f"{name} must be at least 0 and below 1, not {getattr(config, name)}")
    if config.seed >= LARGEST_SEED:
        raise OptionError(f"seed must be below {LARGEST_SEED}, not {config.seed}")
    if "img_size" in config.arch_args:
        raise OptionError("img_size is not an arch_arg here; it is input_size (--input-size)")
    for name in ("mask_ratio", "crop_scale"):
        if not 0 < getattr(config, name) <= 1:
            raise OptionError(f"{name} must be above 0 and at most 1, not {getattr(config, name)}")
    _check_prediction(config)
    _check_finetuning(config)
    if config.probe_every < 0 or config.probe_limit < 4:
        raise OptionError(
            f"probe_every must be at least 0, not {config.probe_every}, and probe_limit at least "
            f"4 (images of a CKA), not {config.probe_limit}"
        )
    _check_engine(config)
    if config.warmup_epochs > config.epochs:
        raise OptionError(
            f"a warm-up of {config.warmup_epochs:g} epochs does not fit into {config.epochs} epochs"
        )


def _check_engine(config: "TrainConfig") -> None:
    """Check how steps are taken."""
    if config.batch_size % config.accumulate:
        raise OptionError(
            f"a batch of {config.batch_size} does not divide into {config.accumulate} parts; "
            "choose a multiple"
        )
    if config.export_average and not config.ema_decay:
        raise OptionError("export_average needs an average; choose ema_decay, such as 0.9999")
    if config.precision == "float16" and config.parallel == "fsdp":
        raise OptionError("fsdp takes no float16; choose precision bfloat16")
    if (config.probe_every or config.val) and config.parallel == "fsdp":
        raise OptionError(
            "probe_every and val need the whole network in each process; choose parallel ddp"
        )


def _check_prediction(config: "TrainConfig") -> None:
    """Check what is predicted from masked images, and how the error is measured."""
    choices: dict[str, tuple[str | int, ...]] = {
        "head": ("linear", "mlp", "inverse-swin-t", "inverse-swin-b"),
        "target": ("pixels", "clusters", "bins", "tokens"),
        "loss": ("l1", "l2", "smooth_l1"),
        "loss_on": ("masked", "all"),
        "bins": (8, 256),
    }
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            listed = ", ".join(map(str, allowed))
            raise OptionError(f"{name} {getattr(config, name)!r} is not one of {listed}")
    for name, lowest in (
        ("target_scale", 1), ("input_width", 0), ("norm_window", 0), ("clusters", 2),
        ("vocabulary", 2),
    ):  # fmt: skip
        if getattr(config, name) < lowest:
            raise OptionError(f"{name} must be at least {lowest}, not {getattr(config, name)}")
    if config.norm_window and (config.norm_window < 3 or config.norm_window % 2 == 0):
        raise OptionError(
            f"norm_window must be odd and at least 3, or 0 for none, not {config.norm_window}"
        )
    only_for = {
        "loss": ("pixels", config.loss == "l1"),
        "norm_window": ("pixels", config.norm_window == 0),
        "tokenizer": ("tokens", config.tokenizer == ""),
    }
    for name, (target, usual) in only_for.items():
        if not usual and config.target != target:
            raise OptionError(
                f"{name} {getattr(config, name)!r} is for target {target}, not {config.target}"
            )
    if config.target == "tokens" and not config.tokenizer:
        raise OptionError("target tokens needs a tokenizer: module:function (--tokenizer)")
    if config.target == "tokens" and config.target_scale != 1:
        raise OptionError(
            f"target_scale {config.target_scale} is not for target tokens, whose tokenizer gives "
            "the resolution; leave it out"
        )


def _check_finetuning(config: "TrainConfig") -> None:
    """Check what only labelled images need."""
    if config.cache_memory < 1:
        raise OptionError(f"cache_memory must be at least 1, not {config.cache_memory}")
    if not 0 < config.layer_decay <= 1:
        raise OptionError(f"layer_decay must be above 0 and at most 1, not {config.layer_decay}")
    for name in ("color_jitter", "mixup", "cutmix"):
        if getattr(config, name) < 0:
            raise OptionError(f"{name} must be at least 0, not {getattr(config, name)}")
    if not 0 <= config.erasing <= 1:
        raise OptionError(f"erasing must be between 0 and 1, not {config.erasing}")
    if (config.mixup or config.cutmix) and config.batch_size % 2:
        raise OptionError(
            f"mixup and cutmix pair the images of a batch: choose an even batch_size, not "
            f"{config.batch_size}, or mixup 0 and cutmix 0"
        )
    if (config.objective == "finetune") != bool(config.start):
        raise OptionError("start names the network of a fine-tuning, and of nothing else")
    if config.val and config.objective == "simmim":
        raise OptionError("val takes a classifier; simmim trains none")
