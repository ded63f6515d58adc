"""The few quantities that claims and a summary compare.

What belongs here: which layers and heads a quantity is taken over. What does not: intervals
(`estimates`, `intervals`) and words.

Two forms: what is linear in the heads is one value for each image and model (`layer_mean`); what is
chosen among heads is a function of their means, by layer (`lower_quartile`, `mean_spread`,
`least_local`), and takes its interval from the bootstrap.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mimprobe.claims.estimates import ImageVector
from mimprobe.claims.intervals import Array, Layers
from mimprobe.tables import PerImageValues

LAYER_MEAN = -1
"""Head number of the mean over a layer's heads in per-image values."""

Part = Callable[[int], range]
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
    values: PerImageValues, models: Sequence[str], metric: str, layers: Part
) -> dict[str, ImageVector]:
    """Average a metric over some layers, all heads alike; only of models that have it."""
    found = {}
    for model in models:
        own = values.select(model=model, metric=metric)
        of_part = own.columns["layer"].isin(_part(values, model, layers))
        chosen = (own.columns["head"] == LAYER_MEAN) & of_part
        found[model] = _mean(own.values[:, chosen.to_numpy(dtype=bool)])
    return _present(found)


def heads_by_layer(values: PerImageValues, model: str, metric: str, layers: Part) -> list[Array]:
    """Give (image, head) values for each of some layers, images in the order of their names.

    Heads without any value are left out, and so are layers of which no head is left; empty for a
    model without the metric.
    """
    own = values.select(model=model, metric=metric)
    order = np.argsort(np.array(own.images), kind="stable")
    heads = own.columns["head"] != LAYER_MEAN
    found = [
        own.values[order][:, (heads & (own.columns["layer"] == at)).to_numpy(dtype=bool)]
        for at in _part(values, model, layers)
    ]
    seen = [layer[:, np.isfinite(layer).any(axis=0)].astype(np.float64) for layer in found]
    return [layer for layer in seen if layer.shape[1]]


def lower_quartile(layers: Layers) -> Array:
    """Give the value below which a quarter of the heads of all these layers lie, by draw."""
    return np.asarray(np.quantile(np.concatenate(layers, axis=-1), 0.25, axis=-1))


def mean_spread(layers: Layers) -> Array:
    """Subtract a layer's smallest head from its largest, and average over layers, by draw."""
    return np.asarray(np.mean([heads.max(-1) - heads.min(-1) for heads in layers], axis=0))


def least_local(layers: Layers) -> Array:
    """Give the smallest head of the layer where the smallest head is largest, by draw."""
    return np.asarray(np.max([heads.min(-1) for heads in layers], axis=0))


def _part(values: PerImageValues, model: str, layers: Part) -> range:
    """Choose layers of a model, of which some metrics have only a few."""
    own = values.columns.loc[values.columns["model"] == model, "layer"]
    return layers(int(own.max()) + 1) if len(own) else range(0)


def _mean(values: npt.NDArray[np.floating]) -> ImageVector:
    """Average over the second axis, leaving out NaN; NaN where nothing is left."""
    present = np.isfinite(values)
    sums = np.where(present, values, 0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        means: ImageVector = sums / present.sum(axis=1)
    return means


def _present(found: dict[str, ImageVector]) -> dict[str, ImageVector]:
    return {model: vector for model, vector in found.items() if np.isfinite(vector).any()}
