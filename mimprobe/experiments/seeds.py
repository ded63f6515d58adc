"""Means over seeds and images, and what is known of their errors.

What belongs here: that arithmetic. What does not: what was drawn, and tables.

With x[s, i] over S seeds and n images, and v_i the mean over seeds, the mean has the standard error

    sqrt( var(v) / n  +  var over s of the mean over i / S )

with the second term for S > 1 only. What differs by seed and image at once is in both, so the error
is rather too large than too small.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from torch import Tensor


class Mean(NamedTuple):
    """A mean, the standard deviation over images of v, the standard error, and the images."""

    value: float
    std: float
    se: float
    n: int


def mean_accuracy(correct: Bool[Tensor, "seed query"]) -> Mean:
    """Average over seeds and images whether an image is named rightly."""
    values = correct.double().cpu().numpy()
    by_image, n = values.mean(0), values.shape[1]
    std = float(by_image.std(ddof=1)) if n > 1 else float("nan")
    se = float(np.sqrt(std**2 / n + seed_variance(values.mean(1).tolist())))
    return Mean(float(by_image.mean()), std, se, n)


def seed_variance(values: Sequence[float]) -> float:
    """Variance of a mean over seeds, as far as the seeds tell; 0 for a single one."""
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
