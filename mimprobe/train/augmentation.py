"""What is done to a training image before the network's normalisation.

What belongs here: one image in, bytes out, from a generator. What does not: what is done to whole
batches (`feed`, `objectives`), and the preprocessing of evaluation (`data.transforms`).
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import timm.data
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import OptionError
from mimprobe.train.config import TrainConfig
from mimprobe.train.crops import ASPECT, cropped, random_crop

Augmentation = Callable[[Image.Image, np.random.Generator], UInt8[Tensor, "rgb height width"]]


def is_plain(config: TrainConfig) -> bool:
    """Tell whether images are only cropped and mirrored."""
    return not (config.auto_augment or config.color_jitter)


def stretch(size: tuple[int, int]) -> float:
    """Give width by height: crops have the aspect ratio of the network's input, give or take."""
    return size[1] / size[0]


def augmentation(config: TrainConfig, preprocessing: Preprocessing) -> Augmentation:
    """Build the augmentation of a run: crop and mirroring, or timm's with everything else.

    Args:
        config: of the run.
        preprocessing: for the input's size, and its mean, with which timm fills what an image
            leaves empty.

    Raises:
        OptionError: timm knows no such automatic augmentation.
    """
    size, shape = preprocessing.input_size, stretch(preprocessing.input_size)
    if is_plain(config):
        return lambda image, generator: cropped(
            image, random_crop(*image.size[::-1], config.crop_scale, shape, generator), size
        )
    try:
        transform: Any = timm.data.create_transform(
            input_size=(3, *size), is_training=True, scale=(config.crop_scale, 1.0),
            ratio=tuple(aspect * shape for aspect in ASPECT),
            color_jitter=config.color_jitter or None, auto_augment=config.auto_augment or None,
            interpolation="bicubic", mean=preprocessing.mean, normalize=False,
        )  # fmt: skip
    except (AssertionError, KeyError, ValueError) as error:
        raise OptionError(
            f"timm knows no auto_augment {config.auto_augment!r}; try rand-m9-mstd0.5-inc1"
        ) from error

    for step in transform.transforms:
        for operation in _operations(step):
            if operation.aug_fn is timm.data.auto_augment.posterize:
                operation.aug_fn = _posterized

    def augment(image: Image.Image, generator: np.random.Generator) -> Tensor:
        with seeded(generator):
            pixels: Tensor = transform(image)
        return pixels

    return augment


def _operations(step: Any) -> list[Any]:
    """List the operations of one of timm's automatic augmentations."""
    listed = [*getattr(step, "ops", [])]
    return listed + [operation for policy in getattr(step, "policy", []) for operation in policy]


def _posterized(image: Image.Image, bits: int, **more: Any) -> Image.Image:
    """Keep the first bits of each colour; timm asks for none of them at its highest level.

    Pillow refuses that, and gave black before it did.
    """
    if bits < 1:
        return Image.new(image.mode, image.size)
    kept: Image.Image = timm.data.auto_augment.posterize(image, bits, **more)
    return kept


@contextmanager
def seeded(generator: np.random.Generator, device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generators that timm and torchvision draw from, and put them back after.

    Args:
        generator: the seeds are drawn from it.
        device: a CUDA device whose generator is seeded too.
    """
    first, second, third = (int(seed) for seed in generator.integers(2**32, size=3))
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        random.seed(first)
        np.random.seed(second)  # noqa: NPY002
        torch.default_generator.manual_seed(third)
        if devices:
            torch.cuda.manual_seed(third)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002
