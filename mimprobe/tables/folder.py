"""A result's folder: what may be written into it, and writing all or nothing.

What belongs here: the manifest's list of files, and atomic writing. What does not: what the files
say (`result`).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from mimprobe.errors import OutputError

MANIFEST_NAME = "manifest.json"

PROGRESS_FOLDER = ".progress"
"""Where a run that is not finished keeps what it has measured so far, in the result's folder."""


def prepare_output(directory: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Make the folder, or clear it of an earlier result if that is allowed.

    Only files named in the earlier manifest are removed; anything else of the user's stays.

    Raises:
        OutputError: the folder holds files and `overwrite` is not set, or is not a folder.
    """
    target = Path(directory)
    check_output(target, overwrite=overwrite)
    target.mkdir(parents=True, exist_ok=True)
    manifest_path = target / MANIFEST_NAME
    if manifest_path.is_file():
        try:
            earlier = files_of(target)
        except (ValueError, KeyError, TypeError):
            earlier = []
        manifest_path.unlink()
        for name in earlier:
            path = target / name
            if path.resolve().is_relative_to(target.resolve()) and path.is_file():
                path.unlink()
    return target


def files_of(directory: str | os.PathLike[str]) -> list[str]:
    """List the files of a result, as its manifest names them; another program's has no `tables`."""
    manifest = json.loads((Path(directory) / MANIFEST_NAME).read_text(encoding="utf-8"))
    if "tables" not in manifest:
        raise KeyError("tables")
    return [str(name) for name in manifest["files"]]


def register_files(directory: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Note further files in a result's manifest: whoever replaces the result removes them too."""
    path = Path(directory) / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"] = list(dict.fromkeys([*manifest["files"], *names]))
    write_text(path, json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def holds_progress(directory: str | os.PathLike[str]) -> bool:
    """Tell whether a run that was interrupted can go on in this folder."""
    return any((Path(directory) / PROGRESS_FOLDER).glob("*.pt"))


def remove_progress(directory: str | os.PathLike[str]) -> None:
    """Remove what an unfinished run saved: it is started anew, or its result is whole."""
    shutil.rmtree(Path(directory) / PROGRESS_FOLDER, ignore_errors=True)


def check_output(
    directory: str | os.PathLike[str], *, overwrite: bool, resume: bool = False
) -> None:
    """Raise OutputError now if writing to `directory` would be refused later.

    A folder with progress may be written to by a run that resumes it, whatever else it holds: the
    run that made the progress was allowed to.
    """
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder for the result")
    if holds_progress(target):
        if not overwrite and not resume:
            raise OutputError(
                f"{target} holds the progress of a run that was interrupted; pass --resume to go "
                "on with it, or --overwrite to start anew"
            )
        return
    if target.is_dir() and not overwrite and any(target.iterdir()):
        what = "another result" if (target / MANIFEST_NAME).exists() else "other files"
        raise OutputError(
            f"{target} already holds {what}; pass --overwrite (overwrite=True) to replace it, or "
            "name another folder"
        )


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 under a temporary name, then rename it to `path`.

    A byte of a path on the command line that was not UTF-8 becomes an escape.
    """
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file beside `path`, then rename it: all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
