"""Batches on the device, and how long the network waits for them.

What belongs here: from samples to normalised batches where they are needed. What does not: what a
sample is (`samples`), and what an objective does to a batch.

Images that are in memory, of one size, and only cropped and mirrored, live on a CUDA device: what
is drawn for a sample are six numbers, and the device cuts out the crops itself.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mimprobe.data.decoded import DecodedImages
from mimprobe.data.images import ImageSet
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import ImageError
from mimprobe.train.augmentation import augmentation, is_plain
from mimprobe.train.config import TrainConfig
from mimprobe.train.crops import cropped_batch
from mimprobe.train.samples import CropSamples, Draw, Key, TrainSamples


class Feed:
    """Batches of normalised images with what the objective adds, on a device.

    Attributes:
        waiting: share of the time in `batches` so far that was spent waiting for data.
    """

    def __init__(
        self,
        samples: TrainSamples | CropSamples,
        config: TrainConfig,
        device: torch.device,
        preprocessing: Preprocessing,
        resident: UInt8[Tensor, "image height width rgb"] | None = None,
    ) -> None:
        """Take samples of pixels, or of crops of the images that are `resident` on the device."""
        self.samples, self.config, self.device, self.resident = samples, config, device, resident
        self.mean, self.std = (
            torch.tensor(values, device=device).view(3, 1, 1)
            for values in (preprocessing.mean, preprocessing.std)
        )
        self.waiting = 0.0

    def batches(self, order: Sampler[list[Key]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of `order`, and keep `waiting` up to date.

        Raises:
            ImageError: an image is unreadable, in one line also where a worker process met it.
        """
        began, waited = time.perf_counter(), 0.0
        loaded = self._loaded(order)
        while True:
            asked = time.perf_counter()
            batch = _told_in_one_line(lambda: next(loaded, None))
            if batch is None:
                return
            handed = time.perf_counter()
            waited += handed - asked
            self.waiting = waited / (handed - began)
            yield self._on_device(batch)

    def _loaded(self, order: Sampler[list[Key]]) -> Iterator[Sequence[Tensor]]:
        loader: DataLoader[Any] = DataLoader(
            self.samples,
            batch_sampler=order,
            num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # the global one belongs to the network
        )
        # Crops are drawn from their own generators alone, so a thread may be ahead.
        return iter(loader) if self.resident is None else _one_ahead(iter(loader))

    def _on_device(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        drawn, extra = (part.to(self.device, non_blocking=True) for part in batch)
        if self.resident is None:
            images = drawn.float()
        else:
            chosen = self.resident[drawn[:, 0]]
            images = cropped_batch(chosen, drawn[:, 1:], self.config.input_size)
        return images.div_(255).sub_(self.mean).div_(self.std), extra


def feed_of(
    images: ImageSet,
    labels: Sequence[int],
    draw: Draw,
    config: TrainConfig,
    device: torch.device,
    preprocessing: Preprocessing,
) -> Feed:
    """Choose who crops: the device where it can, else whoever loads the images."""
    stack = images.origin.stacked() if isinstance(images.origin, DecodedImages) else None
    if stack is None or device.type != "cuda" or not is_plain(config):
        augment = augmentation(config, preprocessing.mean)
        samples = TrainSamples(images, labels, augment, draw, seed=config.seed)
        return Feed(samples, config, device, preprocessing)
    size = (stack.shape[1], stack.shape[2])
    crops = CropSamples(size, labels, draw, smallest=config.crop_scale, seed=config.seed)
    return Feed(crops, config, device, preprocessing, stack.to(device))


def _one_ahead(batches: Iterator[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    """Draw the next batch while the last one is computed on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def _told_in_one_line(load: Callable[[], Sequence[Tensor] | None]) -> Sequence[Tensor] | None:
    try:
        return load()
    except ImageError as error:
        told = str(error).strip().splitlines()[-1]
        raise ImageError(told.rpartition("ImageError: ")[2]) from error
