"""Which image files there are: folders searched, lists checked.

What belongs here: paths, and the messages for those that are wrong. What does not: opening files
(`decoding`).
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from mimprobe.errors import ImageError

EXTENSIONS = (
    ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
"""What the name of an image in a folder ends with, in either case."""

ARCHIVES = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst")


def image_names(folder: Path) -> list[str]:
    """List the images under a folder by their paths within it, written with `/`, in order.

    Hidden files and folders are left out. Linked folders are searched, each folder once, by its
    real path if it has one within `folder`. Broken links are listed: they are missing images.

    Raises:
        ImageError: there is no image, or a folder cannot be searched.
    """
    found = sorted(_visible_files(folder))
    images = [name for name in found if _extension(name) in EXTENSIONS]
    if not images:
        raise ImageError(_no_images(folder, found))
    return images


def check_exists(path: Path, what: str) -> None:
    """Raise ImageError, with the nearest name that exists, if there is nothing at `path`."""
    if _exists(path):
        return
    there = next((parent for parent in path.parents if _exists(parent)), Path())
    absent = path.relative_to(there).parts[0]
    names = [child.name for child in _children(there)] if there.is_dir() else []
    near = get_close_matches(absent, names, n=1)
    hint = f"did you mean {there / near[0]}?" if near else f"{there.absolute()} has no {absent}"
    raise ImageError(f"no {what} at {path}; {hint}")


def check_single_file(path: Path) -> None:
    """Raise ImageError if a file given in the place of a folder is an archive."""
    if _extension(path.name) in ARCHIVES:
        raise ImageError(f"{path} is a compressed archive; unpack it and name what comes out")


def file_ids(paths: Sequence[Path]) -> tuple[str, ...]:
    """Name each file by its path within the folder that all of them share.

    Raises:
        ImageError: a path is missing, is a folder, or occurs twice.
    """
    for number, path in enumerate(paths):
        check_exists(path, f"file for item {number} of the list of images")
        if path.is_dir():
            raise ImageError(
                f"item {number} of the list of images, {path}, is a folder; pass one folder by "
                "itself, or list the files"
            )
    shared = shared_folder(paths)
    return tuple(printable(_plain(path).relative_to(shared).as_posix()) for path in paths)


def shared_folder(paths: Sequence[Path]) -> Path:
    """Find the deepest folder that holds all of the files."""
    return Path(os.path.commonpath([_plain(path).parent for path in paths]))


def printable(name: str) -> str:
    """Write bytes of a file name that are not UTF-8 as escapes: tables are UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _visible_files(root: Path) -> Iterator[str]:
    """Walk through real folders first, then through links to folders not seen by then."""
    folders, links = [""], deque[str]()
    # A link to a folder above the root would lead out of it, and back in.
    seen = {_identity(parent) for parent in root.resolve().parents}
    while folders or links:
        inside = folders.pop() if folders else links.popleft()
        identity = _identity(root / inside)
        if identity in seen:
            continue
        seen.add(identity)
        if inside and _is_result(root / inside):
            continue
        for child in _children(root / inside):
            name = f"{inside}/{child.name}" if inside else child.name
            if child.is_dir(follow_symlinks=False):
                folders.append(name)
            elif child.is_symlink() and Path(child).is_dir():
                links.append(name)
            elif child.is_symlink() or child.is_file():
                yield name


def _children(folder: Path) -> list[os.DirEntry[str]]:
    """List what is not hidden, by name; a folder that may be listed may still not be entered."""
    try:
        with os.scandir(folder) as entries:
            children = [child for child in entries if not child.name.startswith(".")]
        if children:
            children[0].stat(follow_symlinks=False)
    except OSError as error:
        raise ImageError(f"folder {folder} cannot be searched: {error.strerror}") from error
    return sorted(children, key=lambda child: child.name)


def _is_result(folder: Path) -> bool:
    """Tell a result of ours, whose figures nobody means when they name the folder around it."""
    return (folder / "manifest.json").is_file() and (folder / "per_image.npz").is_file()


def _identity(folder: Path) -> tuple[int, int]:
    """Tell a folder from all others, whatever links lead to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _plain(path: Path) -> Path:
    """Make a path absolute and free of `..`, but keep links: their names are the user's."""
    return Path(os.path.normpath(path.absolute()))


def _extension(name: str) -> str:
    return Path(name).suffix.lower()


def _no_images(folder: Path, found: Sequence[str]) -> str:
    """Say what is in a folder without images."""
    if not found:
        return f"{folder} has no files; name a folder that holds images"
    archives = [name for name in found if _extension(name) in ARCHIVES]
    if archives:
        shown = ", ".join(archives[:3]) + (", ..." if len(archives) > 3 else "")
        return f"{folder} has no images, only archives to unpack first ({shown})"
    kinds = Counter(_extension(name) or "no extension" for name in found).most_common()
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds[:4])
    shown += ", ..." if len(kinds) > 4 else ""
    return (
        f"{folder} has no images among its {len(found)} files ({shown}); image files end in "
        f"{', '.join(EXTENSIONS)}"
    )


def _exists(path: Path) -> bool:
    """Tell whether there is anything at `path`; a name that no file can have does not exist."""
    try:
        path.lstat()
    except PermissionError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    except (OSError, ValueError):
        return False
    return True
