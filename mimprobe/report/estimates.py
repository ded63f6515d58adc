"""Numbers with their intervals.

What belongs here: from one value for each image to a mean and its 95 % interval. What does not:
which values a report tells (`quantities`, `alikeness`), and words (`sentences`).

All models of a result saw the same images in the same order, so the difference of two models is
taken image by image and its interval is that of paired values.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

INTERVAL = 1.96
"""Standard errors on either side of a value that make its 95 % interval."""

ImageVector = npt.NDArray[np.float64]
"""One value for each image; NaN where an image has none."""


@dataclass(frozen=True)
class Estimate:
    """A number, and half the length of its 95 % interval; NaN where there is no interval."""

    value: float
    reach: float = math.nan

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.reach

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.reach


def estimate(values: ImageVector) -> Estimate:
    """Average over images, with 1.96 standard errors on either side; none from one image."""
    present = values[np.isfinite(values)]
    if not len(present):
        return Estimate(math.nan)
    if len(present) < 2:
        return Estimate(float(present[0]))
    error = present.std(ddof=1) / math.sqrt(len(present))
    return Estimate(float(present.mean()), INTERVAL * float(error))
