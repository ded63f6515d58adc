"""Batches of a run, and how long the network waits for them.

What belongs here: loading samples in order. What does not: what a sample is (`samples`), what
becomes of it on the device (`finish`), and which are this process's.
"""

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from multiprocessing.synchronize import Event
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mimprobe.errors import ImageError
from mimprobe.train.config import TrainConfig
from mimprobe.train.samples import CropSamples, Key, TrainSamples


class Feed:
    """Batches of samples.

    Attributes:
        waiting: share of the time in `batches` so far that was spent waiting for data.
    """

    def __init__(
        self, samples: TrainSamples | CropSamples, config: TrainConfig, device: torch.device
    ) -> None:
        """Take the samples and where they go."""
        self.samples, self.device = samples, device
        self.workers, self.waiting = config.workers, 0.0

    def batches(self, order: Sampler[list[Key]]) -> Iterator[Sequence[Tensor]]:
        """Give the batches of `order`, and keep `waiting` up to date.

        Raises:
            ImageError: an image is unreadable, in one line also where a worker process met it.
        """
        began, waited = time.perf_counter(), 0.0
        loaded: Iterator[Sequence[Tensor]] = iter(self._loader(order))
        if isinstance(self.samples, CropSamples):
            # Crops are drawn from generators of their own alone, so a thread may be ahead.
            loaded = _one_ahead(loaded)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(loaded, None)
            except ImageError as error:
                told = str(error).strip().splitlines()[-1].rpartition("ImageError: ")[2]
                raise ImageError(
                    f"{told}; repair it, or start anew with --skip-bad-images"
                ) from error
            if batch is None:
                return
            handed = time.perf_counter()
            waited += handed - asked
            self.waiting = waited / (handed - began)
            yield batch

    def _loader(self, order: Sampler[list[Key]]) -> "DataLoader[Any]":
        return DataLoader(
            self.samples, batch_sampler=order, num_workers=self.workers,
            pin_memory=self.device.type == "cuda", worker_init_fn=partial(_outlive, _end()),
            generator=torch.Generator(),  # the global one belongs to the network
        )  # fmt: skip


def _one_ahead(batches: Iterator[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    """Draw the next batch while the last one is computed on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


@cache
def _end() -> Event:
    """Make what is set when this process ends."""
    event = multiprocessing.Event()
    atexit.register(event.set)  # before multiprocessing's own function, which ends the workers
    return event


def _outlive(end: Event, worker: int) -> None:  # noqa: ARG001
    """Leave SIGTERM to the training process, which needs the worker until its step is done.

    SLURM sends it to all processes at once. When the training process ends it sends it too.
    """

    def obey(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if end.is_set():
            os._exit(0)  # as if done: of anything else torch complains

    signal.signal(signal.SIGTERM, obey)
