"""Images in memory, or in a data set: anything with a length and items at 0, 1, 2 ...

What belongs here: taking an item apart into image and id, and a way to load image i. What does not:
images in files (`files`), drawing and skipping (`images`).
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from mimprobe.data.decoding import decode
from mimprobe.errors import ImageError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, ImageError)
"""What a data set raises for a damaged image; anything else is a mistake in its code, and shown."""

EXPECTED = "expected PIL images, uint8 arrays (height, width, 3), pairs (image, id), or paths only"


@runtime_checkable
class Items(Protocol):
    """A list, a tuple or a data set: it has a length, and items at 0, 1, 2 ..."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, eq=False, repr=False)
class ImageItems:
    """Images in memory, or in a data set.

    Attributes:
        title: what they are, for people.
        items: the sequence.
        places: which of its items are used.
    """

    title: str
    items: Items
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def labels(self) -> None:
        """A sequence has no class folders."""
        return

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids that the items bring, or their places in the sequence."""
        return tuple(name for name, _ in self._names_and_hashes)

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """A hash of the pixels of each image."""
        return tuple(pixels for _, pixels in self._names_and_hashes)

    def load(self, number: int) -> Image.Image:
        """Decode image `number` of those that are used."""
        try:
            return decode(_split(self.items[self.places[number]], self.places[number])[1])
        except UNREADABLE as error:
            fact = str(error) if isinstance(error, ImageError) else f"cannot be read: {error}"
            raise ImageError(f"image {self.ids[number]!r} {fact}") from error

    def take(self, numbers: Sequence[int]) -> "ImageItems":
        """Use only these images."""
        return replace(self, places=[self.places[number] for number in numbers])

    @cached_property
    def _names_and_hashes(self) -> list[tuple[str, str]]:
        """Learn names and pixels in one pass over the items."""
        return [self._examine(place) for place in self.places]

    def _examine(self, place: int) -> tuple[str, str]:
        """Give name and hash of an item; it is no error yet that an image is damaged."""
        try:
            item = self.items[place]
        except UNREADABLE:
            return _unnamed(place), "unreadable"
        name, image = _split(item, place)
        try:
            picture = decode(image)
        except ImageError:
            return name, "unreadable"
        return name, hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def _split(item: object, place: int) -> tuple[str, Image.Image]:
    """Take an item apart into id and image.

    Raises:
        ImageError: it is neither an image nor a pair (image, id).
    """
    if not isinstance(item, tuple | list):
        return _unnamed(place), _as_image(item, place)
    if len(item) != 2 or not isinstance(item[1], str | Integral | os.PathLike):
        kinds = ", ".join(type(part).__name__ for part in item)
        raise ImageError(f"item {place} of the images is ({kinds}); {EXPECTED}")
    return str(item[1]), _as_image(item[0], place)


def _as_image(content: object, place: int) -> Image.Image:
    if isinstance(content, Image.Image):
        return content
    found = f"a {type(content).__name__}"
    if isinstance(content, np.ndarray):
        if content.dtype == np.uint8 and content.ndim == 3 and content.shape[2] == 3:
            return Image.fromarray(content)
        found = f"an array of {content.dtype} with shape {content.shape}"
    raise ImageError(f"item {place} of the images holds {found}; {EXPECTED}")


def _unnamed(place: int) -> str:
    return f"image-{place:05d}"
