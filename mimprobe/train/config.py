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

LARGEST_SEED = 2**40
"""A step's own seed is a million times the run's, and must fit 64 bits."""

BASE_BATCH = 512
"""Learning rates are stated for this batch and scaled linearly to the actual one."""


@dataclass(frozen=True)
class TrainConfig:
    """A run: the same record and the same images give the same losses, bit for bit on a CPU.

    Attributes:
        objective: `simmim`, `supervised` or `finetune`.
        arch: a timm ViT; `arch_args` are passed to `timm.create_model`.
        input_size: side of the square input in pixels.
        epochs: passes over the images.
        batch_size: images for each optimiser step.
        base_learning_rate: peak rate at batch 512, scaled linearly to `batch_size`.
        min_learning_rate: where the cosine ends, not scaled.
        warmup_learning_rate: where the linear warm-up starts, not scaled.
        warmup_epochs: length of the warm-up; fractions are allowed.
        weight_decay: AdamW's, on matrices only.
        clip_norm: largest norm of the gradient.
        drop_path: stochastic depth of the last block.
        mask_patch: side of a masked square in pixels (SimMIM).
        mask_ratio: share of squares that are masked (SimMIM).
        label_smoothing: of the cross-entropy (supervised).
        crop_scale: smallest share of the image's area that a random crop keeps.
        seed: of weights, order, crops, masks and drop path.
        precision: `auto` is bfloat16 on CUDA and float32 elsewhere.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: processes that decode images; 0 decodes in the training process.
        checkpoint_minutes: time between checkpoints; one is also written after every epoch.
        export_precision: of the final weights file, `float32` or `float16`.
        val: images that are classified after every epoch, as folder or name; none where empty.
        cache: keep decoded images in memory, `on`, `off`, or `auto` where they fit.
        cache_memory: most megabytes of decoded images for each of the two sets.
        skip_bad_images: leave out unreadable images, which are looked for before the first step.
        start: the network that fine-tuning starts from, as `load_model` takes it (fine-tuning).
        start_arch: a timm model for weights that do not say theirs (fine-tuning).
        layer_decay: factor of the learning rate from one layer to the one before (fine-tuning).
        auto_augment: timm's name of an automatic augmentation; none where empty (fine-tuning).
        color_jitter: of brightness, contrast and saturation; timm uses it where there is no
            automatic augmentation (fine-tuning).
        erasing: probability that a rectangle of an image is replaced by noise (fine-tuning).
        mixup: parameter of the beta distribution; 0 turns it off (fine-tuning).
        cutmix: parameter of the beta distribution; 0 turns it off (fine-tuning).

    Source of the defaults: SimMIM (arXiv 2111.09886), 100-epoch recipe; `FINETUNING` has those of
    fine-tuning.
    """

    objective: str
    arch: str
    input_size: int
    arch_args: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 100
    batch_size: int = 64
    base_learning_rate: float = 2e-4
    min_learning_rate: float = 1e-5
    warmup_learning_rate: float = 1e-6
    warmup_epochs: float = 10.0
    weight_decay: float = 0.05
    clip_norm: float = 5.0
    drop_path: float = 0.0
    mask_patch: int = 32
    mask_ratio: float = 0.6
    label_smoothing: float = 0.1
    crop_scale: float = 0.67
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    workers: int = 0
    checkpoint_minutes: float = 5.0
    export_precision: str = "float32"
    val: str = ""
    cache: str = "auto"
    cache_memory: int = 4096
    skip_bad_images: bool = False
    start: str = ""
    start_arch: str = ""
    layer_decay: float = 1.0
    auto_augment: str = ""
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        choices = {
            "objective": ("simmim", "supervised", "finetune"),
            "cache": ("auto", "on", "off"),
            "precision": ("auto", "float32", "bfloat16"),
            "export_precision": ("float32", "float16"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise OptionError(
                    f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}"
                )
        for name in ("input_size", "epochs", "batch_size", "mask_patch"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("workers", "seed", "warmup_epochs", "weight_decay", "min_learning_rate"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in ("base_learning_rate", "clip_norm"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("drop_path", "label_smoothing"):
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
        self._check_finetuning()
        if self.warmup_epochs > self.epochs:
            raise OptionError(
                f"a warm-up of {self.warmup_epochs:g} epochs does not fit into {self.epochs} epochs"
            )

    def _check_finetuning(self) -> None:
        if self.cache_memory < 1:
            raise OptionError(f"cache_memory must be at least 1, not {self.cache_memory}")
        if not 0 < self.layer_decay <= 1:
            raise OptionError(f"layer_decay must be above 0 and at most 1, not {self.layer_decay}")
        for name in ("color_jitter", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.erasing <= 1:
            raise OptionError(f"erasing must be between 0 and 1, not {self.erasing}")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise OptionError(
                f"mixup and cutmix pair the images of a batch: choose an even batch_size, not "
                f"{self.batch_size}, or mixup 0 and cutmix 0"
            )
        if (self.objective == "finetune") != bool(self.start):
            raise OptionError("start names the network of a fine-tuning, and of nothing else")
        if self.val and self.objective == "simmim":
            raise OptionError("val takes a classifier; simmim trains none")

    @property
    def peak_learning_rate(self) -> float:
        """The base rate scaled linearly to the batch."""
        return self.base_learning_rate * self.batch_size / BASE_BATCH

    def to_json(self) -> str:
        """Give all fields as JSON, for the run's folder and the weights' metadata."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


FINETUNING: Mapping[str, Any] = {
    "base_learning_rate": 1.25e-3,
    "min_learning_rate": 2.5e-7,
    "warmup_learning_rate": 2.5e-7,
    "warmup_epochs": 20.0,
    "drop_path": 0.1,
    "crop_scale": 0.08,
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "color_jitter": 0.4,
    "erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
}
"""Where fine-tuning differs from pre-training by default. Source: SimMIM's published settings."""

RUN_ONLY = (
    "device", "workers", "checkpoint_minutes", "export_precision", "cache", "cache_memory",
)  # fmt: skip
"""Fields that may change between the start of a run and its resumption: they change no loss."""


def changed_fields(stored: str, config: TrainConfig) -> list[str]:
    """Name the fields, beyond `RUN_ONLY`, in which `config` differs from the stored JSON."""
    before, now = json.loads(stored), json.loads(config.to_json())
    names = sorted({*before, *now} - {*RUN_ONLY})
    return [
        f"{name} {before.get(name)!r} -> {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]
