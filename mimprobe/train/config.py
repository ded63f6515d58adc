"""Everything that decides a training run, in one frozen record.

What belongs here: the fields and their defaults. What does not: their checks (`checks`), and
anything that runs.
The command line's flags are these fields with dashes.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mimprobe.train.checks import check_settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

BASE_BATCH = 512
"""Learning rates are stated for this batch and scaled linearly to the actual one."""


@dataclass(frozen=True)
class TrainConfig:
    """A run: the same record and the same images give the same losses, bit for bit on a CPU.

    Attributes:
        objective: `simmim`, `supervised` or `finetune`.
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
        compile: have PyTorch compile the encoder's blocks; it takes a minute and saves time later.
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
        check_settings(self)

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
    "device", "workers", "checkpoint_minutes", "export_precision", "export_average", "parallel",
    "checkpoint_activations", "compile", "channels_last", "cache", "cache_memory",
    "probe_every", "probe_images", "probe_limit", "probe_analyzers", "tensorboard",
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
