"""The batches of a run, cut into the parts of each process.

What belongs here: who loads which images, and what happens when one cannot. What does not: what a
sample is (`samples`).
"""

import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mimprobe.errors import ImageError, OptionError
from mimprobe.loop.processes import Processes
from mimprobe.train.config import TrainConfig
from mimprobe.train.samples import EpochOrder, TrainSamples


class Feed:
    """Batches from some step to the end of its epoch, each as the parts of this process.

    Attributes:
        waited: seconds spent waiting for images since the feed began.
    """

    def __init__(
        self, samples: TrainSamples, config: TrainConfig, group: Processes, device: torch.device
    ) -> None:
        """Check that a batch divides among the processes.

        Raises:
            OptionError: it does not.
        """
        cuts = group.size * config.accumulate
        if config.batch_size % cuts:
            raise OptionError(
                f"a batch of {config.batch_size} does not divide among {group.size} processes with "
                f"{config.accumulate} parts each; choose a multiple of {cuts}"
            )
        self.samples, self.config, self.group, self.device = samples, config, group, device
        self.waited = 0.0
        self.began = time.monotonic()

    def from_step(self, step: int) -> Iterator[list[Sequence[Tensor]]]:
        """Load the batches from `step` on; when one process cannot, all end.

        Raises:
            ImageError: an image is unreadable, in one line also where a worker process met it.
            ElsewhereError: another process cannot load its part.
        """
        loaded = iter(self._loader(step))
        while True:
            batch, error = self._next(loaded)
            (failed,) = self.group.any_of(error is not None)
            if error is not None:
                raise error
            if failed:
                self.group.meet()  # where the other's reason is told
            if not batch:
                return
            yield batch

    def numbers(self, step: int) -> list[int]:
        """Give the images of this process in the batch after `step` steps, in their order."""
        return next(self._order(step).shares())

    @property
    def waiting(self) -> float:
        """Share of the time that was spent waiting for images."""
        return self.waited / max(1e-9, time.monotonic() - self.began)

    def _order(self, step: int) -> EpochOrder:
        return EpochOrder(len(self.samples), self.config, step, self.group.rank, self.group.size)

    def _loader(self, step: int) -> "DataLoader[Any]":
        return DataLoader(
            self.samples, batch_sampler=self._order(step), num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda", worker_init_fn=_outlive_the_first_signal,
        )  # fmt: skip

    def _next(
        self, loaded: Iterator[Sequence[Tensor]]
    ) -> tuple[list[Sequence[Tensor]], Exception | None]:
        start = time.monotonic()
        try:
            parts = [part for _, part in zip(range(self.config.accumulate), loaded, strict=False)]
        except ImageError as error:
            told = str(error).strip().splitlines()[-1]
            return [], ImageError(told.rpartition("ImageError: ")[2])
        except Exception as error:  # it is raised again when the others know
            return [], error
        finally:
            self.waited += time.monotonic() - start
        return parts, None


def _outlive_the_first_signal(worker: int) -> None:  # noqa: ARG001
    """Leave SIGTERM to the training process, which still needs the worker to reach a step's end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
