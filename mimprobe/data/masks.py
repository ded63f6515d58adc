"""Which patches a masked-image model does not see.

What belongs here: masks as boolean grids, drawn from a passed generator, or read off a box or an
image. What does not: what a model does with them (`train.objectives`, `experiments`), and how far
hidden pixels are from visible ones (`measures.masking`). One is masked, zero is visible.

All strategies work in cells: mask patches of `cell` x `cell` patches of the model. The grid need
not be square. Source: SimMIM (arXiv 2111.09886), section 3.2, whose three strategies these are.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mimprobe.data.decoding import decode_file
from mimprobe.errors import NothingVisibleError, OptionError

Mask = npt.NDArray[np.bool_]
"""Rows x columns of a patch grid, True where masked."""

SMALLEST_BLOCK = 16 / 196
"""Least area of a block as a share of the grid: BEiT's 16 of 14 x 14 patches."""

FLATTEST_BLOCK = 0.3
"""Least ratio of a block's sides; the largest is its inverse."""


def random_mask(
    grid: tuple[int, int], *, cell: int, ratio: float, generator: np.random.Generator
) -> Mask:
    """Mask `ceil(cells * ratio)` square cells of `cell` x `cell` patches, chosen at random.

    Args:
        grid: rows and columns of the model's patch grid.
        cell: side of a mask patch in model patches (mask patch size / model patch size).
        ratio: share of the cells that is masked, above 0 and below 1.
        generator: the only source of randomness.

    Returns:
        Boolean array of shape `grid`, True where masked.

    Raises:
        OptionError: the grid does not divide into cells, or the ratio is outside (0, 1).
        NothingVisibleError: the mask would hide all cells.
    """
    rows, columns = _cells(grid, cell)
    flat = np.zeros(rows * columns, dtype=np.bool_)
    flat[generator.permutation(rows * columns)[: _count(rows * columns, ratio)]] = True
    return _in_patches(flat.reshape(rows, columns), cell)


def square_mask(
    grid: tuple[int, int], *, cell: int, ratio: float, generator: np.random.Generator
) -> Mask:
    """Mask one square of cells: the smallest that holds `ceil(cells * ratio)`, at a random place.

    It lies inside the grid, at each of its places equally often. With n = ceil(cells * ratio) its
    side is ceil(sqrt(n)) cells, so it may hide more than n. Where the grid's short side is less, it
    is as long as that, and the other side is the least that reaches n.

    Args, returns and errors are those of `random_mask`.
    """
    rows, columns = _cells(grid, cell)
    count = _count(rows * columns, ratio)
    short = min(math.isqrt(count - 1) + 1, rows, columns)
    long = max(short, -(-count // short))
    height, width = (short, long) if rows <= columns else (long, short)
    if (height, width) == (rows, columns):
        raise NothingVisibleError(
            f"a square of {ratio:g} of {rows} x {columns} mask patches hides them all; choose a "
            "lower ratio or smaller mask patches"
        )
    top = generator.integers(rows - height + 1)
    left = generator.integers(columns - width + 1)
    coarse = np.zeros((rows, columns), dtype=np.bool_)
    coarse[top : top + height, left : left + width] = True
    return _in_patches(coarse, cell)


def block_mask(
    grid: tuple[int, int], *, cell: int, ratio: float, generator: np.random.Generator
) -> Mask:
    """Mask blocks of random size, shape and place until `ceil(cells * ratio)` cells are masked.

    While m of n cells are missing: an area is drawn evenly between 16 / 196 of the grid (at most m,
    at least one cell) and m, and a ratio of height to width between 0.3 and 1 / 0.3, evenly in its
    logarithm; height and width are sqrt(area * ratio) and sqrt(area / ratio), rounded, at least one
    cell and at most the grid; the place is drawn evenly inside the grid. The block is masked if it
    hides at least one and at most m cells more, else another one is drawn. So the count is exact.
    BEiT's code does the same, but stops short of its count after ten draws in vain, and counts
    model patches where here mask patches count.

    Args, returns and errors are those of `random_mask`.

    Source: BEiT (arXiv 2106.08254), algorithm 1.
    """
    rows, columns = _cells(grid, cell)
    missing = _count(rows * columns, ratio)
    coarse = np.zeros((rows, columns), dtype=np.bool_)
    while missing:
        block = _block((rows, columns), missing, generator)
        added = int((~coarse[block]).sum())
        if 0 < added <= missing:
            coarse[block] = True
            missing -= added
    return _in_patches(coarse, cell)


MASKS: dict[str, Callable[..., Mask]] = {
    "random": random_mask,
    "square": square_mask,
    "block": block_mask,
}
"""Strategies by name; all take (grid, *, cell, ratio, generator)."""


def box_mask(grid: tuple[int, int], stride: int, box: Sequence[int]) -> Mask:
    """Mask every patch that a box touches.

    Args:
        grid: rows and columns of the model's patch grid.
        stride: side of a patch in pixels.
        box: x0, y0, x1, y1 in pixels of the network's input, x to the right and y downwards; x1 and
            y1 lie just outside.

    Raises:
        OptionError: not four numbers in order, or the box lies outside the input.
        NothingVisibleError: it touches all patches.
    """
    height, width = grid[0] * stride, grid[1] * stride
    if len(box) != 4:
        raise OptionError(f"a box has four numbers, X0 Y0 X1 Y1, not {len(box)}")
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise OptionError(
            f"box {left} {top} {right} {bottom} does not lie in an input {width} px wide and "
            f"{height} px high; give X0 Y0 X1 Y1 with 0 <= X0 < X1 <= {width} and 0 <= Y0 < Y1 <= "
            f"{height}"
        )
    pixels = np.zeros((height, width), dtype=np.bool_)
    pixels[top:bottom, left:right] = True
    return _touched(pixels, grid, stride, "the box")


def image_mask(
    grid: tuple[int, int], stride: int, image: str | os.PathLike[str] | Image.Image
) -> Mask:
    """Mask every patch that the white part of an image touches.

    Args:
        grid: rows and columns of the model's patch grid.
        stride: side of a patch in pixels.
        image: a file or a PIL image, stretched to the network's input without smoothing; pixels of
            at least half of full brightness are masked.

    Raises:
        ImageError: no readable image.
        OptionError: it is black, so that nothing would be masked.
        NothingVisibleError: it touches all patches.
    """
    height, width = grid[0] * stride, grid[1] * stride
    if isinstance(image, Image.Image):
        picture, name = image, "the mask image"
    else:
        picture, name = decode_file(Path(image)), f"mask image {os.fspath(image)}"
    grey = picture.convert("L").resize((width, height), Image.Resampling.NEAREST)
    pixels = np.asarray(grey) >= 128
    if not pixels.any():
        raise OptionError(f"{name} is black: nothing is masked; paint white what shall be hidden")
    return _touched(pixels, grid, stride, name)


def _cells(grid: tuple[int, int], cell: int) -> tuple[int, int]:
    """Count rows and columns of mask patches."""
    rows, columns = grid
    if cell < 1 or rows % cell or columns % cell:
        raise OptionError(
            f"a {rows} x {columns} patch grid does not divide into mask cells of {cell} x {cell} "
            "patches; the input must be a multiple of the mask patch, and the mask patch a "
            "multiple of the model's patch"
        )
    return rows // cell, columns // cell


def _count(cells: int, ratio: float) -> int:
    """Count the cells to be masked: `ceil(cells * ratio)`."""
    if not 0 < ratio < 1:
        raise OptionError(f"mask ratio {ratio:g} is not between 0 and 1; the paper's is 0.6")
    # Rounding first: 0.6 * 36 is 21.599999999999998 and 0.7 * 10 is 7.000000000000001.
    masked = max(1, math.ceil(round(cells * ratio, 9)))
    if masked == cells:
        raise NothingVisibleError(
            f"a mask ratio of {ratio:g} hides all {cells} mask patches; choose a lower ratio or "
            "smaller mask patches"
        )
    return masked


def _block(
    grid: tuple[int, int], missing: int, generator: np.random.Generator
) -> tuple[slice, slice]:
    """Draw size, shape and place of a block of cells."""
    rows, columns = grid
    smallest = min(max(1.0, rows * columns * SMALLEST_BLOCK), missing)
    area = generator.uniform(smallest, missing)
    aspect = math.exp(generator.uniform(math.log(FLATTEST_BLOCK), -math.log(FLATTEST_BLOCK)))
    height = min(max(1, round(math.sqrt(area * aspect))), rows)
    width = min(max(1, round(math.sqrt(area / aspect))), columns)
    top = int(generator.integers(rows - height + 1))
    left = int(generator.integers(columns - width + 1))
    return slice(top, top + height), slice(left, left + width)


def _in_patches(coarse: Mask, cell: int) -> Mask:
    return np.repeat(np.repeat(coarse, cell, axis=0), cell, axis=1)


def _touched(pixels: Mask, grid: tuple[int, int], stride: int, what: str) -> Mask:
    """Mask the patches that hold a masked pixel."""
    cut = pixels.reshape(grid[0], stride, grid[1], stride)
    found: Mask = np.asarray(cut.any(axis=(1, 3)))
    if found.all():
        raise NothingVisibleError(f"{what} hides all patches; leave something visible")
    return found
