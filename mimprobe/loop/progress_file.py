"""Progress on disk: what an interrupted probe measured, saved now and then.

What belongs here: the file of one process, and when it is saved. What does not: the file as such
(`saved_file`), the folder around it (`tables.folder`) and what is stored (`tally`).
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mimprobe.loop.saved_file import SavedFile
from mimprobe.loop.tally import Tally
from mimprobe.stream import State
from mimprobe.tables import PROGRESS_FOLDER

SHARE = 20
"""Saving may take one part in so many of the time: large memories are saved less often."""


class ProgressFile:
    """The progress of one process, saved in the result's folder now and then.

    Each process of several has a file of its own, whole in itself: it names the batches of its own
    share that are done, so that the files need not be of the same moment.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        same: Mapping[str, str],
        rank: int,
        size: int,
        *,
        every: float,
    ) -> None:
        """Prepare for a run that is known by `same`; saves are at least `every` seconds apart."""
        self.folder = Path(folder)
        self.file = SavedFile(self.folder / PROGRESS_FOLDER / f"{rank}-of-{size}.pt", same)
        self.every = every
        self._last, self._cost = time.monotonic(), 0.0

    def save_if_due(self, tally: Tally) -> None:
        """Save if the last time is long enough ago; with `every` 0 it always is."""
        pause = max(self.every, SHARE * self._cost) if self.every else 0.0
        if time.monotonic() - self._last >= pause:
            self.save(tally)

    def save(self, tally: Tally) -> None:
        """Save: all or nothing, whatever interrupts it."""
        started = time.monotonic()
        self.file.save(tally.state())
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self) -> State | None:
        """Read what this process left, or None if it left nothing; clear away half-written files.

        Raises:
            OutputError: the file is damaged, or of another run.
        """
        state = self.file.load()
        if state is None:
            self._require_size()
        return state

    def _require_size(self) -> None:
        """Other numbers of processes deal out the images in another way."""
        for other in self.file.path.parent.glob("*-of-*.pt"):
            size = other.stem.rpartition("-")[2]
            if size != self.file.path.stem.rpartition("-")[2]:
                self.file.require_same(self.file.same | {"processes": size})
