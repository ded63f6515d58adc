"""Images of a run, decoded once where they fit into memory, and looked through where asked.

What belongs here: what is kept, and what is left out, before the first step. What does not: the
images in memory (`data.decoded`).
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimprobe.data.decoded import DecodedImages
from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError, OptionError
from mimprobe.progress import Progress

TRIED = 64
"""Images whose decoded size is measured before all are decoded."""

AT_ONCE = 256
"""Images that are decoded side by side."""

MEGABYTE = 10**6


class Prepared(NamedTuple):
    """Images that can be trained on.

    Attributes:
        images: those that are left, in memory or not.
        skipped: name and reason of each image that was left out.
    """

    images: ImageSet
    skipped: list[dict[str, Any]]


def prepared(images: ImageSet, *, cache: str, megabytes: int) -> Prepared:
    """Decode images once, to keep them or, where damaged ones may be skipped, to find those.

    Args:
        images: as they were opened.
        cache: `on`, `off`, or `auto` for where they fit.
        megabytes: most memory for decoded images.

    Raises:
        ImageError: an image that is to be kept is damaged, or all are.
        OptionError: the cache is `on` and they do not fit.
    """
    keep = cache != "off" and _fits(images, megabytes, insist=cache == "on")
    if not keep and not images.skip_bad_images:
        return Prepared(images, [])
    places: list[int] = []
    sizes: list[tuple[int, int]] = []
    parts: list[Tensor] = []
    for number, picture in _decoded(images):
        places.append(number)
        if keep:
            sizes.append((picture.height, picture.width))
            parts.append(torch.from_numpy(np.array(picture)).flatten())
    if not places:
        raise ImageError(f"{images.source}: none of its {len(images)} images can be read")
    skipped = images.describe()["skipped"]
    origin = images.origin.take(places) if skipped else images.origin
    if keep and not isinstance(origin, DecodedImages):
        ends = np.cumsum([len(part) for part in parts])
        firsts = tuple(int(first) for first in (0, *ends[:-1]))
        origin = DecodedImages(origin, torch.cat(parts), firsts, tuple(sizes))
    return Prepared(replace(images, origin=origin, skipped={}), skipped)


def _fits(images: ImageSet, megabytes: int, *, insist: bool) -> bool:
    """Tell from some images whether all fit; with `insist`, it is an error if they do not."""
    sizes = []
    for number in np.linspace(0, len(images) - 1, min(TRIED, len(images)), dtype=int):
        try:
            picture = images.load(int(number))
        except ImageError:
            continue  # told when its turn comes
        sizes.append(picture.height * picture.width * 3)
    needed = float(np.mean(sizes)) * len(images) / MEGABYTE if sizes else 0.0
    if insist and needed > megabytes:
        raise OptionError(
            f"{images.source} takes about {needed:,.0f} MB decoded, and cache_memory is "
            f"{megabytes:,} MB; raise it, or choose cache auto or off"
        )
    return needed <= megabytes


def _decoded(images: ImageSet) -> Iterator[tuple[int, Image.Image]]:
    """Decode all images, in order, and leave out what may be left out."""

    def load(number: int) -> Image.Image | ImageError:
        try:
            return images.load(number)
        except ImageError as error:
            return error

    threads = min(8, os.cpu_count() or 1)
    bar = Progress(f"decoding {images.source}", len(images), unit="images")
    with ThreadPoolExecutor(threads) as pool, bar:
        for first in range(0, len(images), AT_ONCE):
            numbers: Sequence[int] = range(first, min(first + AT_ONCE, len(images)))
            for number, found in zip(numbers, pool.map(load, numbers), strict=True):
                bar.advance(1)
                if isinstance(found, ImageError):
                    images.skip(number, found)
                else:
                    yield number, found
