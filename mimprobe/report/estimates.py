"""Numbers with their intervals, from the values of every image.

What belongs here: bootstrap over images, and estimates. What does not: which quantities a report
tells (`quantities`), and words (`summary`).

A `Sample` holds a quantity once for the images as they are (first entry) and once for each
bootstrap draw. All models are measured on the same images and share the draws, so the difference
of two samples is paired by image.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mimprobe.tables import PerImageValues

DRAWS = 2000
BLOCK = 50
FEWEST = 2
"""Images without which there is no interval."""

Sample = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95 % interval; they are NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def reach(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def estimate(sample: Sample) -> Estimate:
    """Take the value, and the 2.5 and 97.5 percentiles of the draws."""
    draws = sample[1:]
    if not len(draws) or not np.isfinite(draws).all():
        return Estimate(float(sample[0]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(float(sample[0]), float(low), float(high))


@dataclass(frozen=True)
class ImageMeans:
    """Means over images: `values[s, c]` belongs to sample entry s and row c of `columns`."""

    columns: pd.DataFrame
    values: npt.NDArray[np.float64]

    def select(self, model: str, metric: str) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
        """Keep one metric of one model."""
        keep = ((self.columns["model"] == model) & (self.columns["metric"] == metric)).to_numpy()
        return self.columns[keep], self.values[:, keep]


def image_means(per_image: PerImageValues, *, seed: int) -> ImageMeans:
    """Average every column over images: as they are, and in `DRAWS` bootstrap draws.

    A column's images without a value (NaN) are left out of its means.
    """
    values = per_image.values.astype(np.float64)
    present = np.isfinite(values)
    filled = np.where(present, values, 0.0)
    images = len(values)
    draws = DRAWS if images >= FEWEST else 0
    generator = np.random.default_rng(seed)
    blocks = [_weighted(np.ones((1, images)), filled, present)]
    for _ in range(0, draws, BLOCK):
        drawn = generator.integers(images, size=(BLOCK, images))
        counts = np.stack([np.bincount(row, minlength=images) for row in drawn]).astype(float)
        blocks.append(_weighted(counts, filled, present))
    return ImageMeans(per_image.columns, np.concatenate(blocks))


def _weighted(
    counts: npt.NDArray[np.float64],
    filled: npt.NDArray[np.float64],
    present: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    weights = counts @ present if not present.all() else counts.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        means: npt.NDArray[np.float64] = counts @ filled / weights
    return means
