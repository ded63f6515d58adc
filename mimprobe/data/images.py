"""An image set: image i, its name, and what became of it.

What belongs here: opening whatever the user passed, drawing from it, skipping what is damaged, and
the record of both. What does not: decoding, searching folders, and preparing for a network.

Image i is file i, always: nothing is ever put in the place of a damaged image.
"""

import hashlib
import html
import json
import operator
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from mimprobe.data.decoded import DecodedImages
from mimprobe.data.files import listed_files
from mimprobe.data.items import ImageItems, Items
from mimprobe.data.sources import Source, source_at
from mimprobe.data.thumbnails import contact_sheet
from mimprobe.errors import ImageError, OptionError

SHOWN = 8
"""Thumbnails on a contact sheet."""


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images in a fixed order; `images[i]` decodes one, `len` counts them, `ids` names them.

    Attributes:
        origin: where they come from.
        limit: the most images that were asked for, if there was a limit.
        seed: of the draw under `limit`.
        by_class: whether that draw took of every class as large a share as of the others.
        skip_bad_images: whether damaged images are left out instead of stopping the work.
        skipped: why an image was left out, by its number.
    """

    origin: Source | ImageItems | DecodedImages
    limit: int | None = None
    seed: int = 0
    by_class: bool = False
    skip_bad_images: bool = False
    skipped: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.origin)

    def __repr__(self) -> str:
        return f"<ImageSet of {len(self)} images from {self.source}>"

    def __getitem__(self, number: int) -> Image.Image:
        return self.load(range(len(self))[operator.index(number)])

    def __iter__(self) -> Iterator[Image.Image]:
        return map(self.load, range(len(self)))

    @property
    def ids(self) -> tuple[str, ...]:
        """A different name for each image: the path of a file within its folder."""
        return self.origin.ids

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The class of each image where a folder holds `<class>/<file>` throughout, else None."""
        return self.origin.labels

    @property
    def source(self) -> str:
        """Where the images come from, for people."""
        return self.origin.title

    @cached_property
    def sha256(self) -> str:
        """Hash of the list: names with file sizes, or with hashes of pixels held in memory."""
        entries = list(zip(self.ids, self.origin.fingerprints, strict=True))
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()

    def load(self, number: int) -> Image.Image:
        """Decode image `number` as upright 8-bit RGB.

        Raises:
            ImageError: it is damaged; hand the error to `skip`, which knows whether to go on.
        """
        return self.origin.load(number)

    def skip(self, number: int, error: ImageError) -> None:
        """Record that image `number` is left out, or raise if nothing may be left out.

        Images are loaded in any thread or process; this is called in the one that keeps the record.
        """
        if not self.skip_bad_images:
            hint = "pass --skip-bad-images (skip_bad_images=True) to leave out such images"
            raise ImageError(f"{error}; {hint}") from error
        self.skipped[number] = str(error)

    def describe(self) -> dict[str, Any]:
        """Give the record for a manifest; `n` counts the images that were not skipped."""
        return {
            "source": self.source,
            "n": len(self) - len(self.skipped),
            "sha256": self.sha256,
            "limit": self.limit,
            "seed": None if self.limit is None else self.seed,
            "drawn_by_class": self.by_class,
            "skipped": [
                {"image": self.ids[number], "reason": reason}
                for number, reason in sorted(self.skipped.items())
            ],
        }

    def _repr_html_(self) -> str:
        drawn = "" if self.limit is None else f", drawn with seed {self.seed}"
        skipped = f"; {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"<p><b>{len(self):,} images</b> from {html.escape(self.source)}{drawn}{skipped}</p>"
            f"{contact_sheet((name, self._peek(i)) for i, name in enumerate(self.ids[:SHOWN]))}"
        )

    def _peek(self, number: int) -> Image.Image | None:
        try:
            return self.load(number)
        except ImageError:
            return None


def open_images(
    source: object, *, limit: int | None = None, seed: int = 0, skip_bad_images: bool = False
) -> ImageSet:
    """Open images for probing or training; files are decoded later, one at a time.

    Args:
        source: a folder (searched with its subfolders, in the order of the paths), one image file,
            a tar file, `wds:` and the shards of a WebDataset, `hfds:` and a data set of Hugging
            Face (see `data.sources`); or a list of paths, a list of PIL images, or a list or data
            set of (image, id). A data set in memory is read once at this point, to learn its ids.
            An image set is returned as it is, or a copy of it with the other arguments applied.
        limit: take at most so many images, drawn at random without replacement and kept in order.
        seed: of that draw.
        skip_bad_images: leave out and record damaged images instead of stopping.

    Raises:
        ImageError: there are no images, a path is missing, or two images have the same id.
        OptionError: a limit below 1, or a negative seed.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"limit must be at least 1, not {limit}")
    if seed < 0:
        raise OptionError(f"seed must not be negative, as {seed} is")
    opened = source if isinstance(source, ImageSet) else ImageSet(_origin(source))
    if limit is not None:
        origin = opened.origin.take(_drawn(len(opened), limit, seed))
        opened = replace(opened, origin=origin, limit=limit, seed=seed, skipped={})
    if skip_bad_images and not opened.skip_bad_images:
        opened = replace(opened, skip_bad_images=True, skipped={})
    if not isinstance(source, ImageSet):
        _check_unique(opened)
    return opened


def _drawn(count: int, limit: int, seed: int) -> list[int]:
    """Draw numbers below `count`; all of them where the limit does not bind."""
    drawn = np.random.default_rng(seed).choice(count, min(limit, count), replace=False)
    return [int(number) for number in np.sort(drawn)]


def _origin(source: object) -> Source | ImageItems:
    """Tell the kinds of source apart."""
    if isinstance(source, str | os.PathLike):
        return source_at(source)
    if not isinstance(source, Items) or isinstance(source, Mapping | bytes):
        raise ImageError(
            f"images cannot be a {type(source).__name__}; pass a folder, a list of paths or of "
            "PIL images, or a data set of (image, id)"
        )
    kind = type(source).__name__
    if not len(source):
        raise ImageError(f"the {kind} of images is empty")
    if isinstance(source, list | tuple) and isinstance(source[0], str | os.PathLike):
        return listed_files(source)
    return ImageItems(f"a {kind} of {len(source)} images", source, range(len(source)))


def _check_unique(images: ImageSet) -> None:
    """Two images of one name could not be told apart in the table of values by image."""
    name, count = Counter(images.ids).most_common(1)[0]
    if count == 1:
        return
    hint = "list each file once"
    if isinstance(images.origin, ImageItems):
        hint = "items are (image, id); for (image, class) pass a list of (image, name) instead"
    raise ImageError(f"{count} of the {len(images)} images have the id {name!r}; {hint}")
