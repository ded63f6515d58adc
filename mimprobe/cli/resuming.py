"""`--resume`: what long commands keep in the output folder until their result is safe.

What belongs here: the option, and what is told and written at the end. What does not: what is kept
(`loop.progress_file`, `experiments.saved_steps`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mimprobe.tables import Result

Command = TypeVar("Command", bound=Callable[..., Any])


def resume_option(command: Command) -> Command:
    """Go on with what an interrupted run left."""
    return click.option(
        "--resume", is_flag=True,
        help="Go on where an equal command was interrupted (it saves its progress in OUTPUT).",
    )(command)  # fmt: skip


@contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Say on Ctrl-C how to go on, where there is anything to go on from."""
    from mimprobe.tables import holds_progress

    try:
        yield
    except KeyboardInterrupt as error:
        if holds_progress(output):
            raise KeyboardInterrupt("the same command with --resume goes on from here") from error
        raise


def write_finished(result: "Result", output: Path, *, overwrite: bool) -> Path:
    """Write the report of a run, and remove its progress when that is done."""
    from mimprobe.report import write_report
    from mimprobe.tables import holds_progress, remove_progress

    # Progress is in a folder that this very run was allowed to write to.
    path = write_report(result, output, overwrite=overwrite or holds_progress(output))
    remove_progress(output)
    return path
