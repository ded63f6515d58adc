"""One progress bar for every long job: count, rate and time left on a terminal, silence elsewhere.

What belongs here: how progress is shown. What does not: what is counted.
"""

import sys
from contextvars import ContextVar
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)
from rich.text import Text

_shown: ContextVar[bool] = ContextVar("a bar is shown", default=False)


class Progress:
    """A context that shows `advance` calls on the terminal's error stream, if it is a terminal.

    One that begins inside another is not shown: the outer job is the one that is waited for.
    """

    def __init__(self, title: str, total: int, *, unit: str, shown: bool = True) -> None:
        """Prepare a bar of `total` units, such as images; one that is not shown only counts."""
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
            disable=not (shown and sys.stderr.isatty()),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, status="")

    def __enter__(self) -> "Progress":
        self._bar.disable = self._bar.disable or _shown.get()
        self._before = _shown.set(True)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        _shown.reset(self._before)

    def advance(self, count: int, status: str = "") -> None:
        """Count `count` more units as done and show `status` behind the bar."""
        self._bar.update(self._task, advance=count, status=status)


class _Rate(ProgressColumn):
    """Units done in each second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self.unit}/s")
