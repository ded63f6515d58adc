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
    """Parts of batches, as `(epoch, index)`, from a given step to the end of its epoch.

    A batch is cut among the processes, and the share of each into `accumulate` parts.
    """

    def __init__(
        self, n_images: int, config: TrainConfig, step: int, rank: int = 0, processes: int = 1
    ) -> None:
        """Take the place in the run from `step`, the optimiser steps already taken."""
        self.n_images, self.config = n_images, config
        self.epoch, self.skip = divmod(step, steps_per_epoch(n_images, config))
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        part = self.config.batch_size // (self.processes * self.config.accumulate)
        for numbers in self.shares():
            for first in range(0, len(numbers), part):
                yield [(self.epoch, index) for index in numbers[first : first + part]]

    def shares(self) -> Iterator[list[int]]:
        """Give the images of this process in each batch."""
        size, share = self.config.batch_size, self.config.batch_size // self.processes
        order = np.random.default_rng((self.config.seed, self.epoch)).permutation(self.n_images)
        for first in range(self.skip * size, self.n_images - size + 1, size):
            start = first + self.rank * share
            yield order[start : start + share].tolist()

    def __len__(self) -> int:
        steps = steps_per_epoch(self.n_images, self.config) - self.skip
        return steps * self.config.accumulate


def steps_per_epoch(n_images: int, config: TrainConfig) -> int:
    """Count the whole batches in one pass; the rest of the shuffled images is left out."""
    return n_images // config.batch_size
