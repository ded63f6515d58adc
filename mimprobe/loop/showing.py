"""Showing images to the networks: batch after batch, saved now and then.

What belongs here: the loop over one process's share of the images, and the time that it takes.
What does not: a pass (`passes`), what is remembered (`tally`), and who takes which share (`run`).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch

from mimprobe.loop.batches import Batch, batches
from mimprobe.loop.passes import Passes, PassSize, measure
from mimprobe.loop.processes import Processes
from mimprobe.loop.progress_file import ProgressFile
from mimprobe.loop.tally import Tally
from mimprobe.models.device import exact_pass, placed
from mimprobe.progress import Progress
from mimprobe.zoo.loaded import LoadedModel


class Showing:
    """Shows one process's share of the images to every network."""

    def __init__(
        self, lineup: Sequence[LoadedModel], tally: Tally, device: torch.device, precision: str
    ) -> None:
        self.lineup, self.tally, self.device, self.precision = lineup, tally, device, precision
        self.passes = {
            model.name: Passes(model, tally.places[model.name], tally.tools) for model in lineup
        }
        self.pass_size = PassSize(tally.pass_size, device)

    def show(
        self,
        share: Sequence[range],
        group: Processes,
        *,
        workers: int,
        progress: ProgressFile | None,
    ) -> None:
        """Show those batches of the share that the tally does not hold yet."""
        tally, left = self.tally, share[self.tally.batches :]
        before, started = tally.seconds, time.monotonic()
        with ExitStack() as stack:
            # Moved before the pass: tensors moved in inference mode could never be trained again.
            for model in self.lineup:
                stack.enter_context(placed(model.module, self.device))
            count = sum(map(len, left))
            bar = stack.enter_context(Progress("probe", count, unit="images", shown=group.first))
            for batch in self._batches(left, workers):
                self._measure(batch)
                tally.batches += 1
                tally.seconds = before + time.monotonic() - started
                group.check()
                if progress is not None:
                    progress.save_if_due(tally)
                waiting = tally.seconds_waiting / max(tally.seconds, 1e-9)
                bar.advance(batch.taken, status=f"{waiting:.0%} waiting for data")

    def _batches(self, share: Sequence[range], workers: int) -> Iterator[Batch]:
        """Give the batches, and count the time until each is there."""
        pinned = self.device.type == "cuda"
        source = batches(self.tally.images, self.lineup, share, workers=workers, pinned=pinned)
        for _ in share:
            started = time.monotonic()
            batch = next(source)
            self.tally.seconds_waiting += time.monotonic() - started
            yield batch

    def _measure(self, batch: Batch) -> None:
        """Show a batch in as few passes as the device has memory for."""
        start = 0
        while start < len(batch.numbers):
            part = batch.part(start, self.pass_size.size)
            ids = [self.tally.images.ids[number] for number in part.numbers]
            with exact_pass(self.device, self.precision):
                found = measure(self.passes, part, ids, self.device)
            if isinstance(found, str):
                self.pass_size.halve(len(part.numbers), found)
                continue
            self.tally.add(part.numbers, found)
            start += len(part.numbers)
            if self.pass_size.note:
                self.tally.pass_size = self.pass_size.size
                self.tally.note(self.pass_size.note)
