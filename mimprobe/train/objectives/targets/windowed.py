"""Normalisation of a target by the pixels around each of its pixels.

What belongs here: mean and variance in a sliding window. What does not: losses.
"""

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from mimprobe.shapes import Images

EPSILON = 1e-6
"""Added to the variance."""

Maps = Float64[Tensor, "*batch height width"]


def moments_in_windows(images: Images, window: int) -> tuple[Images, Images]:
    """Give mean and unbiased variance of each colour in the window around each pixel.

    With n pixels of the window inside the image (fewer at its borders):
        mean = sum(x) / n,    variance = (sum(x^2) / n - mean^2) n / (n - 1), at least 0.

    The sums are taken in float64: they are differences of running sums.

    Args:
        images: in any space.
        window: odd side of the window in pixels.

    Source: normalisation of targets in SwinV2's code for SimMIM (arXiv 2206.04664), window 47.
    """
    wide = images.double()
    count = _sums_in_windows(torch.ones_like(wide[0, 0]), window)
    mean = _sums_in_windows(wide, window) / count
    spread = _sums_in_windows(wide**2, window) / count - mean**2
    variance = (spread * count / (count - 1)).clamp(min=0)
    return mean.to(images.dtype), variance.to(images.dtype)


def normalised_in_windows(images: Images, window: int) -> Images:
    """Give `(x - mean) / sqrt(variance + 1e-6)`, with the moments around each pixel."""
    mean, variance = moments_in_windows(images, window)
    return (images - mean) / (variance + EPSILON).sqrt()


def _sums_in_windows(maps: Maps, window: int) -> Maps:
    return _sums_along(_sums_along(maps, window // 2).mT, window // 2).mT


def _sums_along(maps: Maps, reach: int) -> Float64[Tensor, "*batch height width"]:
    """Sum each pixel with those up to `reach` beside it in the last axis, as far as there are."""
    running = nn.functional.pad(maps.cumsum(-1), (1, 0))
    place = torch.arange(maps.shape[-1], device=maps.device)
    end = (place + reach + 1).clamp(max=maps.shape[-1])
    start = (place - reach).clamp(min=0)
    return running.index_select(-1, end) - running.index_select(-1, start)
