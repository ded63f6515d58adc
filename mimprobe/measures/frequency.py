"""How fast the features of an image vary over the patch grid: relative log amplitudes.

What belongs here: the Fourier transform over the grid. What does not: tokens regardless of their
place (`measures.tokens`).

With x[r,c] one channel on a grid of h x w patches,

    F(u,v) = sum over r, c of x[r,c] exp(-2 pi i (u r / h + v c / w))

and the relative log amplitude at (u,v) is log |F(u,v)| - log |F(0,0)|, averaged over channels: Park
and Kim, "How Do Vision Transformers Work?", ICLR 2022, figure 2 and their code. Like theirs it is
read along the diagonal, from frequency 0 to the highest. Where a choice is open:

    grid        the diagonal runs from (0, 0) to (h // 2, w // 2), in `steps` that are rounded to
                whole frequencies of either axis: non-square and odd grids have one too. At even
                sizes the highest is the checkerboard, pi for each patch, where their curve ends one
                frequency earlier; at odd sizes n it is (n - 1) / n of that.
    zeros       |F| counts as at least 2^-24 of sum |x|, the rounding of float32: what lies below is
                noise. (They add 1e-6, which depends on the scale of the features.) A channel that
                is zero all over the image has no spectrum and is left out.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.shapes import Tokens

MOST_STEPS = 7
"""Steps along the diagonal: all of a grid of 14 x 14, a selection of finer ones."""

ROUNDING = 2.0**-24
"""Smallest amplitude that counts, as a share of the sum of absolute values."""


def diagonal(grid: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """List the frequencies (u, v) from zero to the highest; a single patch has zero only."""
    highest = grid[0] // 2, grid[1] // 2
    steps = max(1, min(MOST_STEPS, max(highest)))
    rounded = [
        [(2 * step * end + steps) // (2 * steps) for step in range(steps + 1)] for end in highest
    ]
    points = tuple(zip(*rounded, strict=True))
    return points if any(highest) else points[:1]


def relative_log_amplitude(
    patches: Tokens, grid: tuple[int, int]
) -> Float64[Tensor, "batch frequency"]:
    """Relative log amplitude at the frequencies of `diagonal(grid)`, in nats; the first is 0.

    NaN for an image whose channels are all zero.

    Raises:
        OptionError: there are not as many patches as the grid has places.
    """
    if patches.shape[1] != math.prod(grid):
        raise OptionError(f"{patches.shape[1]} patches on a grid of {grid[0]} x {grid[1]}")
    wide = patches.detach().double()
    cosine, sine = (_waves(grid, wide.device) @ wide).chunk(2, dim=1)
    total = wide.abs().sum(1, keepdim=True)
    amplitude = torch.hypot(cosine, sine).maximum(ROUNDING * total)
    relative = amplitude.log() - amplitude[:, :1].log()
    mean: Tensor = relative.masked_fill(total == 0, torch.nan).nanmean(-1)
    return mean


@lru_cache(maxsize=64)
def _waves(grid: tuple[int, int], device: torch.device) -> Float64[Tensor, "wave patch"]:
    """Cosines of all frequencies, then their sines, over the patches row by row."""
    rows, columns = (torch.arange(size, dtype=torch.float64) / size for size in grid)
    frequencies = torch.tensor(diagonal(grid), dtype=torch.float64)
    turns = (
        frequencies[:, 0, None, None] * rows[:, None] + frequencies[:, 1, None, None] * columns
    ).flatten(1)
    angle = 2 * math.pi * turns
    return torch.cat([angle.cos(), angle.sin()]).to(device)
