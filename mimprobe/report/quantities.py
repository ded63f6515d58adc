"""The few quantities that a summary compares: one value for each image and model.

What belongs here: which layers and heads a quantity is taken over. What does not: intervals
(`estimates`) and words (`summary`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mimprobe.report.estimates import ImageVector
from mimprobe.tables import PerImageValues

LAYER_MEAN = -1
"""Head number of the mean over a layer's heads in per-image values."""

Layers = Callable[[int], range]
"""Which layers, counted from 0, of a network of so many."""


def all_layers(depth: int) -> range:
    """Give all layers."""
    return range(depth)


def end_layers(depth: int) -> range:
    """Give the last third of the layers; at least one."""
    return range(depth - max(1, round(depth / 3)), depth)


def first_half(depth: int) -> range:
    """Give the first half of the layers; at least one."""
    return range(max(1, depth // 2))


def last_three(depth: int) -> range:
    """Give the last three layers, or fewer where they would reach into the first half."""
    return range(max(depth - 3, len(first_half(depth))), depth)


def layer_mean(
    values: PerImageValues, models: Sequence[str], metric: str, layers: Layers
) -> dict[str, ImageVector]:
    """Average a metric over some layers, all heads alike; only of models that have it."""
    found = {}
    for model in models:
        own = values.select(model=model, metric=metric)
        chosen = (own.columns["head"] == LAYER_MEAN) & own.columns["layer"].isin(_of(own, layers))
        found[model] = _mean(own.values[:, chosen.to_numpy(dtype=bool)])
    return _present(found)


def head_spread(
    values: PerImageValues, models: Sequence[str], metric: str, layers: Layers
) -> dict[str, ImageVector]:
    """Subtract the head with the smallest mean over images from that with the largest.

    The two heads are chosen for each layer once, from all images; then the difference is averaged
    over some layers. Only of models that have the metric.
    """
    found = {}
    for model in models:
        own = values.select(model=model, metric=metric)
        columns = own.columns
        spreads = []
        for layer in _of(own, layers):
            heads = (columns["head"] != LAYER_MEAN) & (columns["layer"] == layer)
            spreads.append(_widest(own.values[:, heads.to_numpy(dtype=bool)]))
        found[model] = _mean(np.stack(spreads, axis=1) if spreads else own.values)
    return _present(found)


def _of(values: PerImageValues, layers: Layers) -> range:
    """Choose layers of the one model that is left."""
    return layers(int(values.columns["layer"].max()) + 1) if len(values.columns) else range(0)


def _widest(heads: npt.NDArray[np.float32]) -> ImageVector:
    means = [_mean(heads[:, [head]].T)[0] for head in range(heads.shape[1])]
    if not means or not np.isfinite(means).all():
        return np.full(len(heads), np.nan)
    return heads[:, np.argmax(means)].astype(float) - heads[:, np.argmin(means)]


def _mean(values: npt.NDArray[np.floating]) -> ImageVector:
    """Average over the second axis, leaving out NaN; NaN where nothing is left."""
    present = np.isfinite(values)
    sums = np.where(present, values, 0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        means: ImageVector = sums / present.sum(axis=1)
    return means


def _present(found: dict[str, ImageVector]) -> dict[str, ImageVector]:
    return {model: vector for model, vector in found.items() if np.isfinite(vector).any()}
