"""Random crops: drawn for one image at a time, cut out of one image or of a batch on a device.

What belongs here: the draw, and the two ways to carry it out, which agree to rounding. What does
not: what else is done to an image (`augmentation`).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

ASPECT = (3 / 4, 4 / 3)
"""Narrowest and widest crop, width by height."""

TRIES = 10

CUBIC = -0.5
"""Free coefficient of the bicubic kernel, as in Pillow."""


class Crop(NamedTuple):
    """A rectangle of an image in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: int


def random_crop(
    height: int, width: int, smallest: float, stretch: float, generator: np.random.Generator
) -> Crop:
    """Draw a crop of uniform area and log-uniform aspect ratio; every second one is mirrored.

    After `TRIES` crops that do not fit, the largest central one of an aspect ratio in `ASPECT`.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        smallest: share of the image's area that a crop has at least; at most it has all of it.
        stretch: width by height of what the crop is resized to; `ASPECT` is relative to it.
        generator: of this image and epoch.

    Source: Inception's crop (arXiv 1409.4842), as torchvision draws it.
    """
    mirrored = int(generator.random() < 0.5)
    narrow, wide = (aspect * stretch for aspect in ASPECT)
    for _ in range(TRIES):
        area = height * width * generator.uniform(smallest, 1)
        aspect = math.exp(generator.uniform(math.log(narrow), math.log(wide)))
        columns, rows = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < columns <= width and 0 < rows <= height:
            top = int(generator.integers(height - rows + 1))
            left = int(generator.integers(width - columns + 1))
            return Crop(top, left, rows, columns, mirrored)
    columns = min(width, max(1, round(height * wide)))
    rows = min(height, max(1, round(width / narrow)))
    return Crop((height - rows) // 2, (width - columns) // 2, rows, columns, mirrored)


def cropped(
    image: Image.Image, crop: Crop, size: tuple[int, int]
) -> UInt8[Tensor, "rgb height width"]:
    """Cut one crop out of an image and resize it by Pillow's bicubic filter."""
    box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
    resized = image.crop(box).resize(size[::-1], Image.Resampling.BICUBIC)
    if crop.mirrored:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def cropped_batch(
    images: UInt8[Tensor, "batch height width rgb"],
    crops: Int[Tensor, "batch 5"],
    size: tuple[int, int],
) -> Float[Tensor, "batch rgb row column"]:
    """Cut a crop out of every image of a batch and resize it, on the images' device.

    A crop, its resizing and its mirroring are one matrix for the rows and one for the columns:
    `R x C^T`, with the weights that Pillow's filter uses, so that the result is `cropped` before it
    rounds: to 2 grey levels on photographs, as it rounds, and clips to 0..255, between its two
    passes.
    """
    top, left, height, width, mirrored = crops.unbind(1)
    rows = _resampling(top, height, images.shape[1], size[0])
    columns = _resampling(left, width, images.shape[2], size[1])
    columns = torch.where(mirrored.bool()[:, None, None], columns.flip(1), columns)
    pixels = images.permute(0, 3, 1, 2).float()
    half = (pixels @ columns[:, None].mT).clamp_(0, 255)
    return (rows[:, None] @ half).clamp_(0, 255)


def _resampling(
    first: Int[Tensor, " batch"], length: Int[Tensor, " batch"], pixels: int, size: int
) -> Float[Tensor, "batch size pixels"]:
    """Give the weight of each pixel in each resized one; zero outside the crop, rows sum to one."""
    scale = (length / size)[:, None, None]
    places = torch.arange(pixels, device=first.device) - first[:, None, None]
    centres = (torch.arange(size, device=first.device)[:, None] + 0.5) * scale
    distance = ((places + 0.5 - centres) / scale.clamp(min=1)).abs()
    inside = (places >= 0) & (places < length[:, None, None])
    weights = _bicubic(distance) * inside
    return weights / weights.sum(2, keepdim=True)


def _bicubic(distance: Tensor) -> Tensor:
    """Evaluate Keys' kernel: two cubics, on [0, 1) and on [1, 2)."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * CUBIC
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
