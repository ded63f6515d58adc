"""AvgDist of a masking strategy, over a grid of mask patches and ratios.

What belongs here: drawing masks and averaging what `measures.masking` says of each. What does not:
the strategies (`data.masks`) and drawing the table (`figures.masking`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mimprobe.data.masks import MASKS
from mimprobe.errors import NothingVisibleError, OptionError, UnknownNameError
from mimprobe.measures.masking import mask_distance

PATCHES = (4, 8, 16, 32, 64)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

MASK_COLUMNS = (
    "strategy", "input_height", "input_width", "mask_patch", "mask_ratio", "masked", "metric",
    "unit", "value", "std", "se", "n", "note",
)  # fmt: skip
"""Of the table; `masked` is the mean share of masked pixels, which may exceed the ratio."""


def mask_distances(
    strategy: str = "random",
    *,
    patches: Sequence[int] = PATCHES,
    ratios: Sequence[float] = RATIOS,
    input_size: int | tuple[int, int] = 192,
    draws: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate AvgDist for each mask patch and ratio: a row each, in px.

    A row's mean is over `draws` masks, `std` over them, `se` is `std / sqrt(draws)`. A row depends
    on its own patch and ratio and on the seed, not on the other rows. Where a mask hides everything
    AvgDist is undefined: the value is missing, and the note says so.

    Args:
        strategy: one of `data.masks.MASKS`.
        patches: sides of a mask patch in pixels; the input must be a multiple of each.
        ratios: shares of mask patches that are masked, between 0 and 1.
        input_size: side of the input in pixels, or height and width.
        draws: masks for each row, at least 2.
        seed: of the draws.

    Raises:
        UnknownNameError: no such strategy.
        OptionError: a patch or ratio that does not fit, no patches or ratios, or too few draws.

    Source: SimMIM (arXiv 2111.09886), section 4.1.
    """
    if strategy not in MASKS:
        raise UnknownNameError("masking strategy", strategy, MASKS)
    if draws < 2:
        raise OptionError(f"a standard error needs at least 2 draws, not {draws}")
    if not patches or not ratios:
        raise OptionError("name at least one mask patch and one ratio")
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    grids = [_grid(size, patch) for patch in patches]
    rows = [
        {
            "strategy": strategy, "input_height": size[0], "input_width": size[1],
            "mask_patch": patch, "mask_ratio": ratio, "metric": "avg_dist", "unit": "px",
            **_estimate(strategy, grid, patch, ratio, draws, seed),
        }
        for patch, grid in zip(patches, grids, strict=True)
        for ratio in ratios
    ]  # fmt: skip
    return pd.DataFrame(rows)[list(MASK_COLUMNS)]


def _grid(size: tuple[int, int], patch: int) -> tuple[int, int]:
    if patch < 1 or size[0] % patch or size[1] % patch:
        raise OptionError(
            f"an input of {size[0]} x {size[1]} px does not divide into mask patches of {patch} px;"
            " choose a divisor"
        )
    return size[0] // patch, size[1] // patch


def _estimate(
    strategy: str, grid: tuple[int, int], patch: int, ratio: float, draws: int, seed: int
) -> dict[str, float | int | str]:
    generator = np.random.default_rng((seed, patch, round(ratio * 1e9)))
    try:
        masks = np.stack(
            [MASKS[strategy](grid, cell=1, ratio=ratio, generator=generator) for _ in range(draws)]
        )
    except NothingVisibleError:
        hole = dict.fromkeys(("masked", "value", "std", "se"), float("nan"))
        return {**hole, "masked": 1.0, "n": 0, "note": "undefined: nothing is visible"}
    distances = mask_distance(masks, stride=patch)
    std = float(distances.std(ddof=1))
    return {
        "masked": float(masks.mean()), "value": float(distances.mean()), "std": std,
        "se": std / draws**0.5, "n": draws, "note": "",
    }  # fmt: skip
