"""Image sources by their usual names: a folder, a tar file, WebDataset shards, a data set by name.

What belongs here: telling from what the user typed which source is meant. What does not: the
sources (`files`, `archives`, `hfds`).

    photos/                       a folder, or one image file
    photos.tar                    a tar file
    wds:shards-{000..003}.tar     shards of a WebDataset: braces, `*`, or a folder of them
    hfds:NAME[:SPLIT]             a data set of Hugging Face, or a folder of Parquet files
"""

import glob
import os
import re
from itertools import product
from pathlib import Path

from mimprobe.data.archives import ArchivedImages, archived_images
from mimprobe.data.files import ImageFiles, files_at, home_expanded
from mimprobe.data.hfds import DatasetImages, dataset_images
from mimprobe.data.listing import printable
from mimprobe.errors import ImageError

Source = ImageFiles | ArchivedImages | DatasetImages

UNSUPPORTED = {
    "hfids": "is a stream without numbers; use hfds:NAME, which is read in place",
    "tfds": "needs TensorFlow; write its images to a folder or a tar file",
}
"""Sources that timm knows and that cannot give image i."""


def source_at(source: str | os.PathLike[str]) -> Source:
    """Open what a path or a name means; a path that exists is always a path.

    Raises:
        ImageError: there is no such thing, or it holds no images.
    """
    text = os.fspath(source)
    kind, colon, name = text.partition(":")
    path = home_expanded(Path(text))
    if colon and not path.exists():
        if kind == "wds":
            return archived_images(printable(text), shards(name))
        if kind == "hfds":
            return dataset_images(name)
        if kind in UNSUPPORTED:
            raise ImageError(f"{text} {UNSUPPORTED[kind]}")
    if path.suffix.lower() == ".tar" and not path.is_dir():
        return archived_images(printable(text), [path])
    return files_at(source)


def shards(pattern: str) -> list[Path]:
    """List the tar files that a pattern names, in order.

    Raises:
        ImageError: there is none.
    """
    if "://" in pattern or pattern.startswith("pipe:"):
        raise ImageError(f"wds:{pattern} is not on this machine; fetch the shards first")
    found: list[Path] = []
    for text in expanded(pattern):
        path = home_expanded(Path(text))
        if path.is_dir():
            found += sorted(path.glob("*.tar"))
        elif glob.has_magic(text) and not path.exists():
            anchor = path.anchor or "."
            found += sorted(Path(anchor).glob(str(path.relative_to(path.anchor))))
        else:
            found.append(path)
    if not found:
        raise ImageError(f"no tar files at wds:{pattern}")
    return list(dict.fromkeys(found))


def expanded(pattern: str) -> list[str]:
    """Write out the braces of a pattern: `{000..012}` counts, `{a,b}` lists."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[part] if place % 2 == 0 else _choices(part) for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    counted = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if counted is None:
        return inside.split(",")
    first, last = counted.groups()
    return [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
