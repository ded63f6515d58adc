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
between them the truth lies between them: the interval given here reaches over both, for a
difference over each choice for either model. It is up to half as wide again as the first alone
where all heads are equal, and no wider where they are far apart.
"""

import itertools
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

Quantity = Callable[[Layers], Array]
"""One number for each draw, from a model's `Layers` of (draw, head)."""


def bootstrap(
    quantity: Quantity, layers: Layers, other: Layers | None = None, *, seed: int
) -> Estimate:
    """Estimate a quantity of the heads' means over images, with its 95 % interval.

    Args:
        quantity: of one model's layers.
        layers: by layer, the values of (image, head); NaN where an image has none. Every head needs
            a value on some image.
        other: of another model on the same images, whose quantity is subtracted; both are drawn
            with the same images, so the difference is paired.
        seed: of the draws.

    Returns:
        The quantity of all images; `n` is the smallest number of images that a head has. Without
        interval below `LEAST_IMAGES`.
    """
    models = [layers] if other is None else [layers, other]
    samples = [Sample(np.concatenate(model, axis=1, dtype=np.float64)) for model in models]
    parted = [_parted(quantity, model) for model in models]
    n = min(int(sample.counts.min()) for sample in samples)
    values = [at(sample.means[None])[0] for at, sample in zip(parted, samples, strict=True)]
    value = float(values[0] - sum(values[1:]))
    if n < LEAST_IMAGES:
        return Estimate(value, n=n)
    moved = [
        stretched(at, sample.means, sample.deviations(seed))
        for at, sample in zip(parted, samples, strict=True)
    ]
    low, high = reaching_over(*moved)
    return Estimate(value, value + float(low), value + float(high), n)


class Sample:
    """Heads of a model on some images, side by side: their means, and those of draws."""

    def __init__(self, values: Array) -> None:
        """Take the values of (image, column); NaN where an image has none."""
        self._present = np.isfinite(values)
        self.counts = self._present.sum(0)
        self.means = np.where(self._present, values, 0).sum(0) / self.counts
        self._centred = np.where(self._present, values - self.means, 0)

    def deviations(self, seed: int) -> Array:
        """Give how far each draw's means lie from those of all images, (draw, column).

        Widened for few images by sqrt(n / (n - 1)) t / 1.96, since the variance of draws is short
        of the first and normal quantiles of the second (Hesterberg, The American Statistician 69,
        2015).
        """
        moved = [
            weights @ self._centred / np.maximum(weights @ self._present, 1)
            for weights in drawn_images(len(self._centred), seed)
        ]
        return np.concatenate(moved) * [widening(int(count)) for count in self.counts]


def widening(n: int) -> float:
    """Give the factor that makes quantiles of draws of `n` images those of Student's interval."""
    return errors_of(n) / INTERVAL * math.sqrt(n / (n - 1))


def stretched(at: Callable[[Array], Array], means: Array, moved: Array) -> list[Array]:
    """Give D(k) of the module's derivation for each of `STRETCHES`, (draw, ...).

    Args:
        at: the quantity, (draw, ...), of means (draw, column).
        means: of all images, (column,).
        moved: how far the draws' means lie from those, (draw, column).
    """
    value = at(means[None])
    return [(at(means + stretch * moved) - value) / stretch for stretch in STRETCHES]


def reaching_over(one: Sequence[Array], other: Sequence[Array] | None = None) -> Array:
    """Give the ends, less the estimate, of the interval that reaches over all stretches.

    Of a difference each model has its own: the heads of one may be equal and the other's apart.
    """
    pairs = one if other is None else [a - b for a, b in itertools.product(one, other)]
    ends = [-np.quantile(moved, (0.975, 0.025), axis=0) for moved in pairs]
    return np.stack([np.min(ends, axis=0)[0], np.max(ends, axis=0)[1]])


def drawn_images(images: int, seed: int) -> Iterator[Array]:
    """Give blocks of draws: how often each image is in each draw, (draw, image)."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // images)
    for start in range(0, DRAWS, step):
        draws = min(step, DRAWS - start)
        places = (
            generator.integers(images, size=(draws, images)) + images * np.arange(draws)[:, None]
        )
        counts = np.bincount(places.ravel(), minlength=draws * images)
        yield counts.reshape(draws, images).astype(float)


def _parted(quantity: Quantity, layers: Layers) -> Callable[[Array], Array]:
    """Make a quantity of layers one of their columns, side by side."""
    ends = np.cumsum([layer.shape[1] for layer in layers])[:-1]
    return lambda columns: quantity(np.split(columns, ends, axis=-1))
