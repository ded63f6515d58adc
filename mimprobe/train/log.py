"""The log of a run, a line of JSON for each optimiser step, and that of its evaluations.

What belongs here: writing them, cutting them back, reading them. What does not: what a step is.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from mimprobe.errors import OutputError
from mimprobe.tables import write_text
from mimprobe.train.engine import Taken

LOG, EVALUATIONS = "log.jsonl", "evaluations.jsonl"


class RunLog:
    """A context that appends a line for each step, in the process that writes."""

    def __init__(self, directory: Path, step: int, *, written: bool) -> None:
        """Cut the log back to `step`, from where the run goes on."""
        self.file: TextIO | None = None
        if written:
            cut_log(directory, step)
            self.file = (directory / LOG).open("a", encoding="utf-8")

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.file is not None:
            self.file.close()

    def add(self, step: int, epoch: int, taken: Taken, waiting: float) -> None:
        """Append one line; floats are written in full, so that a resumed log can be compared.

        A gradient too large for float16, whose step is left out, has no norm.
        """
        entry = {
            "step": step,
            "epoch": epoch,
            "loss": taken.loss,
            "learning_rate": taken.rate,
            "gradient_norm": taken.norm if math.isfinite(taken.norm) else None,
            "waiting": round(waiting, 4),
            "time": round(time.time(), 3),
        }
        if self.file is None:
            return
        try:
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()
        except OSError as error:
            raise OutputError(
                f"{self.file.name} cannot be written at step {step} ({error.strerror}); the last "
                "checkpoint is kept: make room, and go on with --resume"
            ) from error


def append_evaluation(directory: Path, step: int, epoch: int, found: Mapping[str, Any]) -> None:
    """Add the evaluation after `step` steps and `epoch` epochs."""
    with (directory / EVALUATIONS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "epoch": epoch, **found}) + "\n")


def last_evaluation(directory: Path) -> dict[str, Any] | None:
    """Read the latest evaluation, if there was one."""
    path = directory / EVALUATIONS
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return found


def cut_log(directory: Path, step: int) -> None:
    """Drop the lines after `step` from log and evaluations: they will be written again."""
    for name in (LOG, EVALUATIONS):
        if (directory / name).is_file():
            _cut(directory / name, step)


def _cut(path: Path, step: int) -> None:
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            if entry["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break  # the line that was being written when the process died
        kept.append(line + "\n")
    write_text(path, "".join(kept))


def mean_loss(directory: Path, *, last: int) -> float:
    """Average the loss over the last logged steps."""
    lines = (directory / LOG).read_text(encoding="utf-8").splitlines()[-last:]
    losses: list[float] = [json.loads(line)["loss"] for line in lines]
    return sum(losses) / max(1, len(losses))
