"""Images in files: a folder, one file, or a list of paths.

What belongs here: the names of files as images, and a way to load image i. What does not: finding
the files (`listing`), reading one (`decoding`), and images in memory (`items`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from mimprobe.data.decoding import decode_file
from mimprobe.data.listing import (
    check_exists,
    check_single_file,
    file_ids,
    image_names,
    printable,
    shared_folder,
)
from mimprobe.errors import ImageError


@dataclass(frozen=True, eq=False, repr=False)
class ImageFiles:
    """Images in files.

    Attributes:
        title: where they are, for people.
        paths: of the files, in order.
        ids: their names, in the same order.
        in_classes: whether the files came as `<class>/<file>` in one folder.
    """

    title: str
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    in_classes: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The class folder of each file, if there are class folders."""
        return tuple(name.partition("/")[0] for name in self.ids) if self.in_classes else None

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The size of each file: quick even for a million of them."""
        return tuple(_size(path) for path in self.paths)

    def load(self, number: int) -> Image.Image:
        """Decode file `number`."""
        return decode_file(self.paths[number])

    def take(self, numbers: Sequence[int]) -> "ImageFiles":
        """Keep only these files."""
        paths = tuple(self.paths[number] for number in numbers)
        return replace(self, paths=paths, ids=tuple(self.ids[number] for number in numbers))


def files_at(source: str | os.PathLike[str]) -> ImageFiles:
    """Open a folder or a single image.

    Raises:
        ImageError: there is no such thing, it holds no images, or the single file is no image.
    """
    path = home_expanded(Path(source))
    check_exists(path, "image folder")
    if not path.is_dir():
        check_single_file(path)
        decode_file(path)  # a wrong file is better found now than after the models are loaded
        return ImageFiles(printable(str(path)), (path,), (printable(path.name),))
    names = image_names(path)
    return ImageFiles(
        title=printable(str(path)),
        paths=tuple(path / name for name in names),
        ids=tuple(printable(name) for name in names),
        in_classes=all(name.count("/") == 1 for name in names),
    )


def listed_files(listed: Sequence[object]) -> ImageFiles:
    """Open the files of a list.

    Raises:
        ImageError: an item is no path, is missing, is a folder, or occurs twice.
    """
    paths = []
    for number, path in enumerate(listed):
        if not isinstance(path, str | os.PathLike):
            raise ImageError(f"item {number} of a list of paths is a {type(path).__name__}")
        paths.append(home_expanded(Path(path)))
    ids = file_ids(paths)
    title = f"{len(paths)} files in {printable(str(shared_folder(paths)))}"
    return ImageFiles(title, tuple(paths), ids)


def home_expanded(path: Path) -> Path:
    """Expand a leading `~`, as a shell would, but leave alone a file called `~a.jpg`."""
    return path.expanduser() if path.parts[:1] == ("~",) else path


def _size(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes"
    except OSError:
        return "unreadable"
