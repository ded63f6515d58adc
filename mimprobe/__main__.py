"""The `mimprobe` command: run it, and turn what went wrong into one clear line.

Exit codes: 0 done, 2 bad input, 130 interrupted, 143 stopped by SIGTERM.
"""

import errno
import os
import sys
import warnings
from typing import TextIO

import click

from mimprobe.cli import group
from mimprobe.errors import ElsewhereError, MimprobeError, StoppedError

FULL = (
    "; make room, or write elsewhere; where a manifest.json stands, 'mimprobe report DIR' makes "
    "the page of its tables"
)
"""What to do when a disk is full."""


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _show_warning
    try:
        status = group.main(prog_name="mimprobe", standalone_mode=False)
    except click.ClickException as error:
        # Found while the command is read, which every process of torchrun does alike.
        told = f"{error.format_message()}; see --help".replace(".;", ";")
        status = _fail(told, error.exit_code) if _speaks() else error.exit_code
    except ElsewhereError as error:
        status = error.status  # the process that failed has said why
    except StoppedError as error:
        status = _fail(str(error), error.status)
    except MimprobeError as error:
        status = _fail(str(error), 2)
    except (KeyboardInterrupt, click.Abort) as error:
        told = str(error.__cause__ or "") or "what stands without a manifest.json is no result"
        status = _fail(f"interrupted; {told}", 130)
    except MemoryError:
        status = _fail("out of memory; choose a smaller --batch-size", 2)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        first = str(error).splitlines()[0]
        status = _fail(f"out of memory; choose a smaller --batch-size ({first})", 2)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        status = _fail(f"{error.strerror or error}{where}{FULL if full else ''}", 2)
    sys.exit(status if isinstance(status, int) else 0)


def _speaks() -> bool:
    """Tell whether this process speaks for those that torchrun started with it."""
    return os.environ.get("RANK", "0") == "0"


def _fail(message: str, status: int) -> int:
    click.echo(f"mimprobe: {message}", err=True)
    return status


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Show our own warnings in one line; those of other packages are for developers."""
    if issubclass(category, UserWarning) and _speaks():
        click.echo(f"mimprobe: warning: {message}", err=True)


if __name__ == "__main__":
    main()
