"""Intervals of what is chosen among heads: smallest, largest, quartile, and their differences.

What belongs here: the bootstrap over images. What does not: which quantity (`quantities`).

A quantity f of the heads' means m, such as their minimum, has no fixed bias: where heads are far
apart the same head is the smallest on any images, and f is as exact as its mean; where heads are
alike the smallest mean of n images is too small. The plain percentile bootstrap re-chooses in every
draw, which adds this bias once more instead of removing it: the interval of the spread of equal
heads never contains 0. So the bootstrap deviations of the means, m* - m, are stretched before f
sees them (the numerical delta method, Hong & Li, Journal of Econometrics 206, 2018):

    D(k) = (f(m + k (m* - m)) - f(m)) / k        interval(k) = f(m) - quantiles of D(k)

With k near 0 every draw has the heads that all images chose; with k large, heads that the images
hardly tell apart count as equal and the bias is taken off. Either is right in its own case, and
between them the truth lies between them: the interval given here reaches over both. It covers at
least 95 % in all of the cases of tests/claims/test_intervals.py, and is up to half as wide again as
the first alone where all heads are equal, not wider where they are not.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mimprobe.claims.estimates import INTERVAL, Estimate, errors_of

DRAWS = 2000
"""Bootstrap draws of the images."""

LEAST_IMAGES = 16
"""Images below which no interval is given: with fewer, skewed values are no longer covered."""

STRETCHES = (1e-3, 10.0)
"""The k of the module's derivation."""

BLOCK = 1 << 22
"""Largest number of draws times images that is worked on at once."""

Array = npt.NDArray[np.float64]
Layers = Sequence[Array]
"""By layer, values whose last axis counts the heads; the number of heads may differ."""

Quantity = Callable[..., Array]
"""One number for each draw, from the `Layers` of one or more models, each (draw, head)."""


def bootstrap(quantity: Quantity, *models: Layers, seed: int) -> Estimate:
    """Estimate a quantity of the heads' means over images, with its 95 % interval.

    All models' heads are drawn with the same images, so differences are paired. Deviations are
    stretched by sqrt(n / (n - 1)) t / 1.96 for small n, as the variance of draws is short of the
    first and normal quantiles of the second (Hesterberg, The American Statistician 69, 2015).

    Args:
        quantity: of `Layers` of (draw, head), one argument for each model.
        models: by layer, the values of (image, head); NaN where an image has none. Every head needs
            a value on some image.
        seed: of the draws.

    Returns:
        The quantity of all images; `n` is the smallest number of images that a head has. Without
        interval below `LEAST_IMAGES`.
    """
    values = np.concatenate([layer for model in models for layer in model], axis=1, dtype=float)
    present = np.isfinite(values)
    counts = present.sum(0)
    means = np.where(present, values, 0).sum(0) / counts
    n = int(counts.min())

    def at(heads: Array) -> Array:
        return quantity(*_parted(heads, models))

    value = float(at(means[None])[0])
    if n < LEAST_IMAGES:
        return Estimate(value, n=n)
    moved = deviations(np.where(present, values - means, 0), present, seed)
    moved *= [errors_of(int(k)) / INTERVAL * math.sqrt(k / (k - 1)) for k in counts]
    ends = [
        np.quantile((at(means + stretch * moved) - value) / stretch, (0.975, 0.025))
        for stretch in STRETCHES
    ]
    below, above = np.max(ends, axis=0)[0], np.min(ends, axis=0)[1]
    return Estimate(value, float(value - below), float(value - above), n)


def deviations(centred: Array, present: npt.NDArray[np.bool_], seed: int) -> Array:
    """Give how far each draw's means lie from those of all images, (draw, column)."""
    moved = []
    for weights in drawn_images(len(centred), seed):
        counts = weights @ present
        moved.append(weights @ centred / np.maximum(counts, 1))
    return np.concatenate(moved)


def drawn_images(images: int, seed: int) -> Iterator[Array]:
    """Give blocks of draws: how often each image is in each draw, (draw, image)."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // images)
    for start in range(0, DRAWS, step):
        draws = min(step, DRAWS - start)
        places = generator.integers(images, size=(draws, images)) + images * np.arange(draws)[:, None]
        counts = np.bincount(places.ravel(), minlength=draws * images)
        yield counts.reshape(draws, images).astype(float)


def _parted(heads: Array, models: Sequence[Layers]) -> list[list[Array]]:
    """Cut (draw, column) back into models and layers."""
    sizes = [layer.shape[1] for model in models for layer in model]
    layers = iter(np.split(heads, np.cumsum(sizes)[:-1], axis=1))
    return [[next(layers) for _ in model] for model in models]
