"""When a run is saved, and by whom.

What belongs here: the clock, and the first process writing for all. What does not: the files
(`checkpoint`), and what is in them (`engine`).
"""

import time
from pathlib import Path

import torch

from mimprobe.errors import CheckpointError
from mimprobe.loop.processes import Processes
from mimprobe.train import checkpoint
from mimprobe.train.engine import Engine


class Saver:
    """The checkpoints of a run.

    Attributes:
        step: of the newest checkpoint; 0 where there is none.
    """

    def __init__(self, directory: Path, engine: Engine, group: Processes, minutes: float) -> None:
        """Begin without a checkpoint."""
        self.directory, self.engine, self.group = directory, engine, group
        self.seconds = 60 * minutes
        self.step = 0
        self.saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Tell whether enough time has passed since the last checkpoint."""
        return time.monotonic() - self.saved_at > self.seconds

    def save(self, step: int) -> None:
        """Write a checkpoint; every process takes part, and the first one writes.

        Raises:
            OutputError: it cannot be written, such as on a full disk; the one before is kept.
        """
        state = {
            "step": step, "threads": torch.get_num_threads(), "processes": self.group.size,
            **self.engine.state(),
        }  # fmt: skip
        if self.group.first:
            checkpoint.save_checkpoint(self.directory, state)
        self.group.meet()
        self.step, self.saved_at = step, time.monotonic()

    def resume(self) -> int:
        """Restore the newest readable checkpoint and give its step; 0 where there is none.

        On a CPU the number of threads becomes that of the run so far: sums are rounded by it.

        Raises:
            CheckpointError: there are checkpoints and none can be read, or it is of another run.
        """
        name = self.group.share(lambda: checkpoint.newest(self.directory))
        if name is None:
            return 0
        state = checkpoint.read_checkpoint(self.directory / name)
        try:
            self.engine.restore(state)
            self.step = int(state["step"])
            threads = int(state["threads"])
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.directory / name} is not of this run ({str(error).splitlines()[0]}); name "
                "another folder"
            ) from error
        if self.engine.device.type == "cpu":
            torch.set_num_threads(threads)
        return self.step
