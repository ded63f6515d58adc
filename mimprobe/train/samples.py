"""Training samples: what a run sees at each (seed, epoch, index), whatever process draws it.

What belongs here: draws and order. What does not: decoding (`data.images`), what is done to an
image (`augmentation`), and batches on the device (`feed`).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mimprobe.data.images import ImageSet
from mimprobe.train.augmentation import Augmentation
from mimprobe.train.config import TrainConfig
from mimprobe.train.crops import random_crop

Draw = Callable[[int, np.random.Generator], Tensor]
"""An objective's `sample`: label and generator in, mask or label tensor out."""

Key = tuple[int, int]
"""Epoch and index of a sample."""


class TrainSamples(Dataset[tuple[Tensor, Tensor]]):
    """Every image with its augmentation, as bytes, and what the objective adds."""

    def __init__(
        self,
        images: ImageSet,
        labels: Sequence[int],
        augment: Augmentation,
        draw: Draw,
        *,
        seed: int,
    ) -> None:
        """Keep what a sample is made of; nothing is decoded yet."""
        self.images, self.labels, self.augment, self.draw = images, labels, augment, draw
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Give bytes (rgb, height, width) and mask or label for `key = (epoch, index)`."""
        epoch, index = key
        generator = np.random.default_rng((self.seed, epoch, index))
        pixels = self.augment(self.images.load(index), generator)
        return pixels, self.draw(self.labels[index], generator)


class CropSamples(Dataset[tuple[Tensor, Tensor]]):
    """The same samples where the device does the cropping: numbers instead of pixels."""

    def __init__(
        self,
        size: tuple[int, int],
        labels: Sequence[int],
        draw: Draw,
        *,
        smallest: float,
        stretch: float,
        seed: int,
    ) -> None:
        """Keep what a sample is made of; `size` is the height and width of every image."""
        self.size, self.labels, self.draw = size, labels, draw
        self.smallest, self.stretch, self.seed = smallest, stretch, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Give index and crop, as `cropped_batch` takes them, and mask or label."""
        epoch, index = key
        generator = np.random.default_rng((self.seed, epoch, index))
        crop = random_crop(*self.size, self.smallest, self.stretch, generator)
        return torch.tensor((index, *crop)), self.draw(self.labels[index], generator)


class EpochOrder(Sampler[list[Key]]):
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

    def __iter__(self) -> Iterator[list[Key]]:
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
