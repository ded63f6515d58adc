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


def errors_of(n: int) -> float:
    """Give the standard errors on either side of a mean of `n` values: Student's t, 1.96 of many.

    Infinite for one value.
    """
    return float(stdtrit(n - 1, 0.975)) if n > 1 else math.inf


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
