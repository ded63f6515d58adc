"""What TensorBoard shows of a run, where the run asks for it.

What belongs here: writing numbers that exist already. What does not: making them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mimprobe.errors import OptionError
from mimprobe.train.config import TrainConfig

FOLDER = "tensorboard"


class Board:
    """Losses and watched layers in RUN/tensorboard; the record of a run is its log, not this.

    What was shown by a process that died, from the step on at which the run goes on, is hidden.
    """

    def __init__(self, config: TrainConfig, directory: Path, *, written: bool = True) -> None:
        """Find TensorBoard's writer if the run asks for it; nothing is written yet.

        Args:
            config: of the run.
            directory: of the run.
            written: whether this is the process that writes.

        Raises:
            OptionError: it is not installed.
        """
        self.folder = directory / FOLDER
        self._writer: Any = None
        self._make: Any = _summary_writer() if config.tensorboard and written else None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Show some numbers at a step."""
        if self._make is None:
            return
        if self._writer is None:
            self._writer = self._make(self.folder, purge_step=step, flush_secs=10)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def add_layers(self, step: int, table: pd.DataFrame) -> None:
        """Show the means of each layer in a table that has them, counted from 1 as in figures."""
        if "head" not in table:
            return
        means = table[table["head"].isna()]
        if "at" in means:
            means = means[means["at"].isna()]
        rows = means[["metric", "layer", "value"]].itertuples(index=False)
        self.add(step, {f"{metric}/layer {layer + 1}": value for metric, layer, value in rows})


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise OptionError(
            "TensorBoard is not installed; pip install 'mimprobe[tensorboard]', or leave out "
            "--tensorboard"
        ) from error
    return SummaryWriter
