"""Batches of a run, and how long the network waits for them.

What belongs here: loading samples in order. What does not: what a sample is (`samples`), and what
becomes of it on the device (`finish`).
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mimprobe.errors import ImageError
from mimprobe.train.config import TrainConfig
from mimprobe.train.finish import Prepared
from mimprobe.train.samples import CropSamples, Key


class Feed:
    """Batches on the device.

    Attributes:
        waiting: share of the time in `batches` so far that was spent waiting for data.
    """

    def __init__(self, prepared: Prepared, config: TrainConfig) -> None:
        """Take samples with what finishes them."""
        self.samples, self.finish = prepared
        self.workers, self.waiting = config.workers, 0.0

    def batches(self, order: Sampler[list[Key]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of `order`, and keep `waiting` up to date.

        Raises:
            ImageError: an image is unreadable, in one line also where a worker process met it.
        """
        began, waited = time.perf_counter(), 0.0
        loaded = self._loaded(order)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(loaded, None)
            except ImageError as error:
                told = str(error).strip().splitlines()[-1]
                raise ImageError(told.rpartition("ImageError: ")[2]) from error
            if batch is None:
                return
            handed = time.perf_counter()
            waited += handed - asked
            self.waiting = waited / (handed - began)
            yield self.finish(batch)

    def _loaded(self, order: Sampler[list[Key]]) -> Iterator[Sequence[Tensor]]:
        loader: DataLoader[Any] = DataLoader(
            self.samples,
            batch_sampler=order,
            num_workers=self.workers,
            pin_memory=self.finish.device.type == "cuda",
            generator=torch.Generator(),  # the global one belongs to the network
        )
        # Crops are drawn from their own generators alone, so a thread may be ahead.
        ahead = isinstance(self.samples, CropSamples)
        return _one_ahead(iter(loader)) if ahead else iter(loader)


def _one_ahead(batches: Iterator[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    """Draw the next batch while the last one is computed on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch
