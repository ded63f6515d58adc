"""How a run ends before its last step: asked to, or because a number is none.

What belongs here: noticing, and saying so in one line. What does not: saving (`saving`).
"""

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

from mimprobe.errors import NonFiniteError
from mimprobe.train.engine import Taken

SHOWN = 4
"""Images that are named before the others are only counted."""


class StopRequest:
    """A context in which SIGTERM, as SLURM and `torchrun` send it, is noted and not obeyed yet."""

    def __init__(self) -> None:
        """Nothing is asked for yet."""
        self.made = False
        self._before: Any = None

    def __enter__(self) -> "StopRequest":
        # Elsewhere Python takes no signals, and a program that trains in a thread has its own ways.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.made = True


def divergence(
    taken: Taken, step: int, saved: int, names: Sequence[str], batch_size: int
) -> NonFiniteError:
    """Describe a step whose loss or gradient is no number.

    Args:
        taken: the step.
        step: its number, from 1.
        saved: step of the last checkpoint, 0 for none.
        names: ids of the images whose own loss or gradient is no number.
        batch_size: images of the step.
    """
    what = "the loss" if taken.loss - taken.loss != 0 else "the norm of the gradient"
    value = taken.loss if what == "the loss" else taken.norm
    kept = f"the checkpoint of step {saved} is kept" if saved else "there was no checkpoint yet"
    whose = _whose(names, batch_size)
    return NonFiniteError(
        f"{what} is {value} at step {step} (learning rate {taken.rate:.3g}) {whose}; the run "
        f"stopped and {kept}; go on with --resume --change-rates and a lower base_learning_rate"
    )


def _whose(names: Sequence[str], batch_size: int) -> str:
    if not names:
        return "though it is a number for each image alone"
    if len(names) == batch_size:
        return f"for every image of the batch, {names[0]} first"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"for {', '.join(names[:SHOWN])}{more} of the batch's {batch_size} images"
