"""Images in tar files, read in place: one archive, or the shards of a WebDataset.

What belongs here: the index of an archive, and a way to load image i. What does not: decoding
(`decoding`), and which files a pattern means (`shards`).

timm's readers of tar files are not used: one keeps an open file whose position worker processes
would share, the other gives images in an order, and a number, that depend on who asks.
"""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mimprobe.data.decoding import decode_bytes
from mimprobe.data.listing import EXTENSIONS, check_exists, printable
from mimprobe.errors import ImageError

BLOCK = 512
"""Bytes of a header in a tar file."""


class Member(NamedTuple):
    """Where a file lies in an archive."""

    archive: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Read its bytes; every call opens the archive by itself, so that any process may."""
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(f"{self.archive} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, eq=False, repr=False)
class ArchivedImages:
    """Images in tar files.

    Attributes:
        title: where they are, for people.
        members: the image files, in order.
        ids: their names, in the same order.
        classes: a file for each image that holds its class, if there are such files.
    """

    title: str
    members: tuple[Member, ...]
    ids: tuple[str, ...]
    classes: tuple[Member, ...] | None = None

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """The class of each image: what its `.cls` file says, or its folder if all have one."""
        if self.classes is not None:
            return tuple(
                member.read().decode("utf-8", "replace").strip() for member in self.classes
            )
        if all(member.name.count("/") == 1 for member in self.members):
            return tuple(member.name.partition("/")[0] for member in self.members)
        return None

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The size of each file."""
        return tuple(f"{member.size} bytes" for member in self.members)

    def load(self, number: int) -> Image.Image:
        """Decode file `number`."""
        member = self.members[number]
        return decode_bytes(member.read(), f"{member.archive}: {member.name}")

    def take(self, numbers: Sequence[int]) -> "ArchivedImages":
        """Keep only these files."""
        kept = None if self.classes is None else tuple(self.classes[number] for number in numbers)
        return replace(
            self,
            members=tuple(self.members[number] for number in numbers),
            ids=tuple(self.ids[number] for number in numbers),
            classes=kept,
        )


def archived_images(title: str, archives: Sequence[Path]) -> ArchivedImages:
    """Open the images of one or more tar files: archive by archive, in the order of their names.

    With several archives an image is named by its archive too. Where every image has a file of the
    same name that ends in `.cls`, as in a WebDataset, those are the classes.

    Raises:
        ImageError: an archive is missing, damaged, compressed or empty, or holds no image.
    """
    images: list[Member] = []
    classes: dict[tuple[Path, str], Member] = {}
    for archive in archives:
        found = sorted(index(archive), key=lambda member: member.name)
        own = [member for member in found if _extension(member.name) in EXTENSIONS]
        if not own:
            held = f"{len(found)} files, none of them an image" if found else "no files"
            raise ImageError(f"{archive} holds {held}; images end in {', '.join(EXTENSIONS)}")
        images += own
        classes |= {
            (archive, member.name.removesuffix(".cls")): member
            for member in found
            if member.name.endswith(".cls")
        }
    keys = [(image.archive, _sample(image.name)) for image in images]
    return ArchivedImages(
        title=title,
        members=tuple(images),
        ids=tuple(
            image.name if len(archives) == 1 else f"{printable(image.archive.name)}/{image.name}"
            for image in images
        ),
        classes=tuple(classes[key] for key in keys) if set(keys) <= set(classes) else None,
    )


def index(archive: Path) -> list[Member]:
    """List the files of a tar file by reading its headers only; hidden ones are left out.

    Raises:
        ImageError: it is missing, or damaged.
    """
    check_exists(archive, "tar file")
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(archive, "r:") as file:
            for member in file:
                if member.isreg() and not member.issparse():
                    places[member.name] = (member.offset_data, member.size)
                elif member.islnk() and member.linkname in places:
                    places[member.name] = places[member.linkname]
            _check_end(archive, file.offset)
    except tarfile.ReadError as error:
        raise ImageError(f"{archive} is no whole tar file: {error}") from error
    except OSError as error:
        raise ImageError(f"{archive} cannot be read: {error.strerror or error}") from error
    return [
        Member(archive, printable(name.removeprefix("./")), *place)
        for name, place in places.items()
        if not Path(name).name.startswith(".")
    ]


def _check_end(archive: Path, offset: int) -> None:
    """Python takes a damaged header for the end of an archive; the end is zeros, or no bytes."""
    with archive.open("rb") as file:
        file.seek(offset)
        if any(file.read(BLOCK)):
            raise tarfile.ReadError(f"damaged at byte {offset:,} of {archive.stat().st_size:,}")


def _extension(name: str) -> str:
    return Path(name).suffix.lower()


def _sample(name: str) -> str:
    """Name of a sample in a WebDataset: the path up to the first dot of the file's name."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"
