"""Which patches of each image are hidden for a reconstruction.

What belongs here: from what the user asked for to a mask for each image. What does not: the
strategies, boxes and mask images themselves (`data.masks`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mimprobe.data.decoding import decode_file
from mimprobe.data.masks import MASKS, Mask, box_mask, image_mask
from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.painters import Painter

Masking = str | os.PathLike[str] | Image.Image | Sequence[int]
"""A strategy of `MASKS`, an image whose white part is hidden, or a box x0, y0, x1, y1."""

Masker = Callable[[int, Image.Image], Mask]
"""Number of an image, and the image, to its mask."""


def masker_of(
    masking: Masking,
    painter: Painter,
    preprocessing: Preprocessing,
    *,
    mask_patch: int | None,
    mask_ratio: float | None,
    seed: int,
) -> tuple[Masker, str]:
    """Give what masks each image, and its name for a title.

    Raises:
        UnknownNameError: a word that is neither a strategy nor a file.
        OptionError: a mask that does not fit, or settings of a strategy beside a box or an image.
        NothingVisibleError: it hides everything.
        ImageError: an unreadable image.
    """
    stride = preprocessing.input_size[0] // painter.grid[0]
    if isinstance(masking, str) and masking in MASKS:
        patch = painter.mask_patch if mask_patch is None else mask_patch
        ratio = painter.mask_ratio if mask_ratio is None else mask_ratio
        return _drawn(masking, painter.grid, stride, patch, ratio, seed)
    if mask_patch is not None or mask_ratio is not None:
        raise OptionError(
            f"mask patch and mask ratio belong to {', '.join(MASKS)}; leave them out with a box or "
            "an image"
        )
    if isinstance(masking, str | os.PathLike | Image.Image):
        return partial(_from_image, _opened(masking), painter.grid, stride, preprocessing), "a mask"
    box = box_mask(painter.grid, stride, masking)
    return (lambda number, photo: box), f"box {' '.join(map(str, masking))}"  # noqa: ARG005


def _drawn(
    strategy: str, grid: tuple[int, int], stride: int, patch: int, ratio: float, seed: int
) -> tuple[Masker, str]:
    if patch < 1 or patch % stride:
        raise OptionError(
            f"mask patch {patch} px is not a multiple of the model's patch {stride} px; choose a "
            "multiple"
        )

    def draw(number: int, photo: Image.Image) -> Mask:  # noqa: ARG001
        generator = np.random.default_rng((seed, number))
        return MASKS[strategy](grid, cell=patch // stride, ratio=ratio, generator=generator)

    return draw, f"{strategy} mask, ratio {ratio:g}, patches of {patch} px"


def _opened(masking: str | os.PathLike[str] | Image.Image) -> Image.Image:
    if isinstance(masking, Image.Image):
        return masking
    if not Path(masking).is_file():
        raise UnknownNameError(
            "mask", os.fspath(masking), MASKS, hint="also possible: a box, or an image file"
        )
    return decode_file(Path(masking))


def _from_image(
    picture: Image.Image,
    grid: tuple[int, int],
    stride: int,
    preprocessing: Preprocessing,
    number: int,  # noqa: ARG001
    photo: Image.Image,
) -> Mask:
    """Read a mask off an image; one as large as the photo is cropped like it."""
    if picture.size == photo.size:
        bare = replace(
            preprocessing, interpolation="nearest", mean=(0.0,) * 3, std=(1.0,) * 3
        ).transform()
        cropped: Tensor = bare(picture.convert("RGB"))
        pixels = np.asarray(cropped.permute(1, 2, 0) * 255, dtype=np.uint8)
        picture = Image.fromarray(pixels)
    return image_mask(grid, stride, picture)
