"""Which patches a masked-image model does not see.

What belongs here: masks as boolean grids, drawn from a passed generator. What does not: what a
model does with them (`train.objectives`). One is masked, zero is visible.
"""

import math

import numpy as np
import numpy.typing as npt

from mimprobe.errors import OptionError


def random_mask(
    grid: tuple[int, int], *, cell: int, ratio: float, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Mask `ceil(cells * ratio)` square cells of `cell` x `cell` patches, chosen at random.

    Args:
        grid: rows and columns of the model's patch grid.
        cell: side of a mask patch in model patches (mask patch size / model patch size).
        ratio: share of the cells that is masked, between 0 and 1.
        generator: the only source of randomness.

    Returns:
        Boolean array of shape `grid`, True where masked.

    Raises:
        OptionError: the grid does not divide into cells, or the ratio is outside [0, 1].

    Source: SimMIM (arXiv 2111.09886), section 3.2.
    """
    rows, columns = grid
    if cell < 1 or rows % cell or columns % cell:
        raise OptionError(
            f"a {rows} x {columns} patch grid does not divide into mask cells of {cell} x {cell} "
            "patches; the input must be a multiple of the mask patch, and the mask patch a "
            "multiple of the model's patch"
        )
    if not 0 <= ratio <= 1:
        raise OptionError(f"mask ratio {ratio} is outside 0 to 1")
    cells = (rows // cell) * (columns // cell)
    # Rounding first: 0.6 * 36 is 21.599999999999998 and 0.7 * 10 is 7.000000000000001.
    masked = math.ceil(round(cells * ratio, 9))
    flat = np.zeros(cells, dtype=np.bool_)
    flat[generator.permutation(cells)[:masked]] = True
    coarse = flat.reshape(rows // cell, columns // cell)
    return np.repeat(np.repeat(coarse, cell, axis=0), cell, axis=1)
