"""Numbers with their intervals.

What belongs here: from one value for each image to a mean and its 95 % interval. What does not:
what is chosen among heads and needs a bootstrap (`intervals`), which values are told (`quantities`,
`alikeness`), and words.

All models of a result saw the same images in the same order, so the difference of two models is
taken image by image and its interval is that of paired values.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

INTERVAL = 1.96
"""Standard errors on either side of a value that make its 95 % interval, of many images."""

ImageVector = npt.NDArray[np.float64]
"""One value for each image; NaN where an image has none."""


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval and the images behind it; NaN where there is no interval."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    @property
    def reach(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def within(value: float, reach: float, n: int = 0) -> Estimate:
    """Give a number with an interval that reaches equally far on either side."""
    return Estimate(value, value - reach, value + reach, n)


def shown_within(value: float, se: float, limits: tuple[float, float], n: int = 0) -> Estimate:
    """Give a number with its 95 % interval for showing, cut where the metric ends."""
    low, high = value - INTERVAL * se, value + INTERVAL * se
    return Estimate(value, max(low, min(limits[0], value)), min(high, max(limits[1], value)), n)


def errors_of(n: int) -> float:
    """Give the standard errors on either side of a mean of `n` values: Student's t, 1.96 of many.

    Infinite for one value.
    """
    return float(stdtrit(n - 1, 0.975)) if n > 1 else math.inf


def with_seeds(values: ImageVector, *by_seed: ImageVector) -> tuple[Estimate, float]:
    """Average over images what is a mean over seeds too, and give its standard error beside it.

    Images and seeds are drawn independently of each other, so the variances of their means add up,
    s^2 = sum_a s_a^2, with s_a^2 = var_a / count_a; the interval is Student's with Welch's and
    Satterthwaite's degrees of freedom, s^4 / sum_a (s_a^4 / (count_a - 1)) (Welch, Biometrika 34,
    1947). What differs by seed and image at once is in both, so the interval errs on the wide side.

    Args:
        values: by image, means over seeds.
        by_seed: of each quantity that enters, its means over images by seed; fewer than two seeds
            tell nothing of others, and add nothing.
    """
    present = values[np.isfinite(values)]
    if len(present) < 2:
        return estimate(values), math.nan
    samples = [present, *(seeds for seeds in by_seed if len(seeds) > 1)]
    parts = np.array([sample.var(ddof=1) / len(sample) for sample in samples])
    freedom = np.array([len(sample) - 1 for sample in samples])
    se = math.sqrt(float(parts.sum()))
    doubt = float((parts**2 / freedom).sum())
    errors = float(stdtrit(parts.sum() ** 2 / doubt, 0.975)) if doubt else 0.0
    return within(float(present.mean()), errors * se, len(present)), se


def estimate(values: ImageVector) -> Estimate:
    """Average over images, with Student's 95 % interval; none from one image."""
    present = values[np.isfinite(values)]
    count = len(present)
    if not count:
        return Estimate(math.nan)
    if count < 2:
        return Estimate(float(present[0]), n=1)
    error = float(present.std(ddof=1)) / math.sqrt(count)
    return within(float(present.mean()), errors_of(count) * error, count)
