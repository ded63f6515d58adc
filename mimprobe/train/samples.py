"""Training samples: what a run sees at each (seed, epoch, index), whatever process draws it.

What belongs here: augmentation and order. What does not: decoding (`data.images`) and what an
objective adds to an image.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import v2

from mimprobe.data.images import ImageSet
from mimprobe.train.config import IMAGENET_MEAN, IMAGENET_STD, TrainConfig

Draw = Callable[[int, np.random.Generator], Tensor]
"""An objective's `sample`: label and generator in, mask or label tensor out."""


class TrainSamples(Dataset[tuple[Tensor, Tensor]]):
    """Random resized crop, flip and normalisation of every image, with what the objective adds."""

    def __init__(
        self, images: ImageSet, labels: list[int], config: TrainConfig, draw: Draw
    ) -> None:
        """Prepare the transform; nothing is decoded yet."""
        self.images, self.labels, self.draw, self.seed = images, labels, draw, config.seed
        height, width = config.input_shape
        stretch = width / height
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(
                    (height, width),
                    scale=(config.crop_scale, 1.0),
                    ratio=(3 / 4 * stretch, 4 / 3 * stretch),
                    interpolation=v2.InterpolationMode.BICUBIC,
                ),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Give image and mask (or label) for `key = (epoch, index)`."""
        epoch, index = key
        image: Image.Image = self.images.load(index)
        generator = np.random.default_rng((self.seed, epoch, index))
        # torchvision draws from torch's global generator: it is seeded here and put back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.integers(2**62)))
            pixels: Tensor = self.transform(image).as_subclass(Tensor)
        return pixels, self.draw(self.labels[index], generator)


class EpochOrder(Sampler[list[tuple[int, int]]]):
    """Batches of `(epoch, index)` from a given step to the end of its epoch."""

    def __init__(self, n_images: int, config: TrainConfig, step: int) -> None:
        """Take the place in the run from `step`, the optimiser steps already taken."""
        self.n_images, self.config = n_images, config
        self.epoch, self.skip = divmod(step, steps_per_epoch(n_images, config))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size = self.config.batch_size
        order = np.random.default_rng((self.config.seed, self.epoch)).permutation(self.n_images)
        for first in range(self.skip * size, self.n_images - size + 1, size):
            yield [(self.epoch, int(index)) for index in order[first : first + size]]

    def __len__(self) -> int:
        return steps_per_epoch(self.n_images, self.config) - self.skip


def steps_per_epoch(n_images: int, config: TrainConfig) -> int:
    """Count the whole batches in one pass; the rest of the shuffled images is left out."""
    return n_images // config.batch_size
