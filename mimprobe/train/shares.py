"""Which images each process takes, in how many parts, and that all of them have theirs.

What belongs here: cutting batches up, and ending together. What does not: loading (`feed`).
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.loop.processes import Processes
from mimprobe.train.config import TrainConfig
from mimprobe.train.feed import Feed
from mimprobe.train.samples import EpochOrder

Part = Sequence[Tensor]
"""Images and what the objective adds to them: a part of the batch of one process."""


class Shares:
    """This process's share of every batch."""

    def __init__(self, n_images: int, config: TrainConfig, group: Processes) -> None:
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
        if (config.mixup or config.cutmix) and config.batch_size // cuts % 2:
            raise OptionError(
                f"mixup and cutmix pair images, and a batch of {config.batch_size} has "
                f"{config.batch_size // cuts} in each of its {cuts} parts; choose a multiple of "
                f"{2 * cuts}"
            )
        self.n_images, self.config, self.group = n_images, config, group

    def batches(self, feed: Feed, step: int) -> Iterator[list[Part]]:
        """Give the parts of each batch from `step` to the end of its epoch.

        Raises:
            Exception: whatever loading raises here; the other processes end as well.
            ElsewhereError: another process cannot load its part.
        """
        loaded = feed.batches(self._order(step))
        while True:
            parts: list[Part] = []
            error: Exception | None = None
            try:
                parts = list(islice(loaded, self.config.accumulate))
            except Exception as found:  # raised when the others know: they wait for this step
                error = found
            (failed,) = self.group.any_of(error is not None)
            if error is not None:
                raise error
            if failed:
                self.group.meet()  # where the reason is told
            if not parts:
                return
            yield parts

    def numbers(self, step: int) -> list[int]:
        """Give the images of this process in the batch after `step` steps, in their order."""
        return next(self._order(step).shares())

    def _order(self, step: int) -> EpochOrder:
        return EpochOrder(self.n_images, self.config, step, self.group.rank, self.group.size)
