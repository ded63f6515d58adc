"""Everything that decides a training run, in one frozen record.

What belongs here: the fields, their defaults and their checks. What does not: anything that runs.
The command line's flags are these fields with dashes.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mimprobe.errors import OptionError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LARGEST_SEED = 2**63
"""PyTorch's generators take seeds of 64 bits."""

BASE_BATCH = 512
"""Learning rates are stated for this batch and scaled linearly to the actual one."""


@dataclass(frozen=True)
class TrainConfig:
    """A run: the same record and the same images give the same losses, bit for bit on a CPU.

    Attributes:
        objective: `simmim` or `supervised`.
        arch: a timm ViT, BEiT, Swin or SwinV2, or a card, whose architecture is taken; `arch_args`
            are passed to `timm.create_model`.
        input_size: side of the square input in pixels, or its height.
        input_width: width of the input in pixels; 0 for a square.
        epochs: passes over the images.
        batch_size: images for each optimiser step, those of all processes together.
        accumulate: parts into which each process cuts its batch, for networks that need memory.
        base_learning_rate: peak rate at batch 512, scaled linearly to `batch_size`.
        min_learning_rate: where the cosine ends, at batch 512, scaled likewise.
        warmup_learning_rate: where the linear warm-up starts, at batch 512, scaled likewise.
        warmup_epochs: length of the warm-up; fractions are allowed.
        schedule: `cosine`, which counts from the first step on, `cosine-after-warmup`, which counts
            from the end of the warm-up, or `step`.
        decay_epoch: from where the `step` schedule is ten times lower.
        weight_decay: AdamW's, on matrices only.
        clip_norm: largest norm of the gradient.
        drop_path: stochastic depth of the last block.
        mask_patch: side of a masked square in pixels (SimMIM).
        mask_ratio: share of squares that are masked (SimMIM).
        mask: how squares are masked: `random`, `square` or `block` (SimMIM).
        head: predicts from the features: `linear`, `mlp`, `inverse-swin-t` or `inverse-swin-b`
            (SimMIM).
        target: what is predicted: `pixels`, `clusters` of colours, `bins` of each colour channel,
            or `tokens` of a tokenizer (SimMIM).
        target_scale: the target has 1/N of the input's resolution; tokens bring their own (SimMIM).
        loss: of pixels, `l1`, `l2` or `smooth_l1`; the others have cross-entropy (SimMIM).
        loss_on: `masked` patches are predicted, or `all` patches reconstructed (SimMIM).
        norm_window: side in pixels, odd, of the window in which pixel targets are normalised; 0 for
            none, 47 in SwinV2's code (SimMIM).
        clusters: number of colour clusters, fitted to the images (SimMIM).
        bins: equal parts of each colour channel, 8 or 256 (SimMIM).
        tokenizer: `module:function`, from images between 0 and 1 to token numbers (SimMIM).
        vocabulary: number of different tokens (SimMIM).
        label_smoothing: of the cross-entropy (supervised).
        crop_scale: smallest share of the image's area that a random crop keeps.
        seed: of weights, order, crops, masks and drop path.
        precision: `float32`, `bfloat16`, `float16` or `float64`; `auto` is bfloat16 on CUDA and
            float32 elsewhere.
        ema_decay: of an average of the weights over the steps, such as 0.9999; 0 keeps none.
        export_average: write the average of the weights at the end, not the last ones.
        parallel: with several processes, `ddp` keeps the network in each, `fsdp` shares it out.
        checkpoint_activations: compute activations twice and keep few of them, to save memory.
        compile: have PyTorch compile the network, which takes a minute and saves time after it.
        channels_last: keep feature maps channel by channel, which helps convolutions on CUDA.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: processes that decode images; 0 decodes in the training process.
        checkpoint_minutes: time between checkpoints; one is also written after every epoch.
        export_precision: of the final weights file, `float32` or `float16`.
        probe_every: steps between two looks at the network with analyzers; 0 never looks.
        probe_images: folder of the images that are looked at; the training set where it is empty.
        probe_limit: how many of those images, drawn once and the same at every step.
        probe_analyzers: names of the analyzers, separated by commas.
        tensorboard: also write losses and watched layers for TensorBoard.

    Source of the defaults: SimMIM (arXiv 2111.09886), 100-epoch recipe.
    """

    objective: str
    arch: str
    input_size: int
    arch_args: Mapping[str, Any] = field(default_factory=dict)
    input_width: int = 0
    epochs: int = 100
    batch_size: int = 64
    accumulate: int = 1
    base_learning_rate: float = 2e-4
    min_learning_rate: float = 1e-5
    warmup_learning_rate: float = 1e-6
    warmup_epochs: float = 10.0
    schedule: str = "cosine"
    decay_epoch: int = 700
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    drop_path: float = 0.0
    mask_patch: int = 32
    mask_ratio: float = 0.6
    mask: str = "random"
    head: str = "linear"
    target: str = "pixels"
    target_scale: int = 1
    loss: str = "l1"
    loss_on: str = "masked"
    norm_window: int = 0
    clusters: int = 512
    bins: int = 8
    tokenizer: str = ""
    vocabulary: int = 8192
    label_smoothing: float = 0.1
    crop_scale: float = 0.67
    seed: int = 0
    precision: str = "auto"
    ema_decay: float = 0.0
    export_average: bool = False
    parallel: str = "ddp"
    checkpoint_activations: bool = False
    compile: bool = False
    channels_last: bool = False
    device: str = "auto"
    workers: int = 0
    checkpoint_minutes: float = 5.0
    export_precision: str = "float32"
    probe_every: int = 0
    probe_images: str = ""
    probe_limit: int = 128
    probe_analyzers: str = "attention_distance,attention_entropy,head_kl"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        choices = {
            "objective": ("simmim", "supervised"),
            "precision": ("auto", "float32", "bfloat16", "float16", "float64"),
            "schedule": ("cosine", "cosine-after-warmup", "step"),
            "parallel": ("ddp", "fsdp"),
            "export_precision": ("float32", "float16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}"
                )
        for name in (
            "input_size",
            "epochs",
            "batch_size",
            "mask_patch",
            "accumulate",
            "decay_epoch",
        ):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("workers", "seed", "warmup_epochs", "weight_decay", "min_learning_rate"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in ("base_learning_rate", "clip_norm"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("drop_path", "label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(
                    f"{name} must be at least 0 and below 1, not {getattr(self, name)}"
                )
        if self.seed >= LARGEST_SEED:
            raise OptionError(f"seed must be below {LARGEST_SEED}, not {self.seed}")
        if "img_size" in self.arch_args:
            raise OptionError("img_size is not an arch_arg here; it is input_size (--input-size)")
        for name in ("mask_ratio", "crop_scale"):
            if not 0 < getattr(self, name) <= 1:
                raise OptionError(
                    f"{name} must be above 0 and at most 1, not {getattr(self, name)}"
                )
        _check_prediction(self)
        if self.probe_every < 0 or self.probe_limit < 4:
            raise OptionError(
                f"probe_every must be at least 0, not {self.probe_every}, and probe_limit at least "
                f"4 (images of a CKA), not {self.probe_limit}"
            )
        if self.batch_size % self.accumulate:
            raise OptionError(
                f"a batch of {self.batch_size} does not divide into {self.accumulate} parts; "
                "choose a multiple"
            )
        if self.export_average and not self.ema_decay:
            raise OptionError("export_average needs an average; choose ema_decay, such as 0.9999")
        if self.precision == "float16" and self.parallel == "fsdp":
            raise OptionError("fsdp takes no float16; choose precision bfloat16")
        if self.probe_every and self.parallel == "fsdp":
            raise OptionError("probe_every needs the whole network in each process; choose ddp")
        if self.warmup_epochs > self.epochs:
            raise OptionError(
                f"a warm-up of {self.warmup_epochs:g} epochs does not fit into {self.epochs} epochs"
            )

    @property
    def input_shape(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.input_size, self.input_width or self.input_size

    @property
    def peak_learning_rate(self) -> float:
        """The base rate scaled linearly to the batch."""
        return self.base_learning_rate * self.batch_scale

    @property
    def batch_scale(self) -> float:
        """Factor of all learning rates: the batch over the one for which they are stated."""
        return self.batch_size / BASE_BATCH

    def to_json(self) -> str:
        """Give all fields as JSON, for the run's folder and the weights' metadata."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def _check_prediction(config: TrainConfig) -> None:
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


RUN_ONLY = (
    "device", "workers", "checkpoint_minutes", "export_precision", "export_average", "parallel",
    "checkpoint_activations", "compile", "channels_last", "probe_every", "probe_images",
    "probe_limit", "probe_analyzers", "tensorboard",
)  # fmt: skip
"""Fields that may change when a run is resumed: they change no loss beyond rounding."""


def changed_fields(stored: str, config: TrainConfig) -> list[str]:
    """Name the fields, beyond `RUN_ONLY`, in which `config` differs from the stored JSON."""
    before, now = json.loads(stored), json.loads(config.to_json())
    names = sorted({*before, *now} - {*RUN_ONLY})
    return [
        f"{name} {before.get(name)!r} -> {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]
