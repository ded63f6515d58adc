"""The few quantities that a summary compares, for each model.

What belongs here: which layers and heads a quantity is taken over. What does not: intervals
(`estimates`) and words (`summary`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from mimprobe.report.estimates import ImageMeans, Sample
from mimprobe.tables import PerImageValues

LAYER_MEAN = -1
"""Head number of the mean over a layer's heads in per-image values."""

METRICS = ("attention_distance", "attention_entropy", "head_kl", "prefix_mass")
"""Metrics that a summary reads."""


def all_layers(depth: int) -> range:
    """Give all layers, counted from 0."""
    return range(depth)


def end_layers(depth: int) -> range:
    """Give the last third of the layers, counted from 0; at least one."""
    return range(depth - max(1, round(depth / 3)), depth)


def first_half(depth: int) -> range:
    """Give the first half of the layers, counted from 0; at least one."""
    return range(max(1, depth // 2))


def last_three(depth: int) -> range:
    """Give the last three layers, or fewer where they would reach into the first half."""
    return range(max(depth - 3, len(first_half(depth))), depth)


def needed(per_image: PerImageValues) -> PerImageValues:
    """Keep the columns that the quantities below read: layer means, and heads' late entropies."""
    columns = per_image.columns
    depths = columns.groupby("model")["layer"].transform("max") + 1
    late = columns["layer"] >= depths.map(lambda depth: end_layers(int(depth)).start)
    keep = (columns["head"] == LAYER_MEAN) | (late & (columns["metric"] == "attention_entropy"))
    keep &= columns["metric"].isin(METRICS)
    kept = columns[keep].reset_index(drop=True)
    return PerImageValues(per_image.images, kept, per_image.values[:, keep.to_numpy(dtype=bool)])


def layer_mean(
    means: ImageMeans, models: Sequence[str], metric: str, layers: Callable[[int], range]
) -> dict[str, Sample]:
    """Average a metric over some layers, all heads alike."""
    found: dict[str, Sample] = {}
    for model in models:
        columns, values = means.select(model, metric)
        if columns.empty:
            continue
        chosen = columns["layer"].isin(layers(_depth(columns))) & (columns["head"] == LAYER_MEAN)
        _keep_finite(found, model, values[:, chosen.to_numpy()])
    return found


def head_spread(
    means: ImageMeans, models: Sequence[str], metric: str, layers: Callable[[int], range]
) -> dict[str, Sample]:
    """Give the largest minus the smallest head of a layer, averaged over some layers."""
    found: dict[str, Sample] = {}
    for model in models:
        columns, values = means.select(model, metric)
        if columns.empty:
            continue
        heads = columns["head"] != LAYER_MEAN
        spreads = [
            np.ptp(values[:, (heads & (columns["layer"] == layer)).to_numpy()], axis=1)
            for layer in layers(_depth(columns))
        ]
        _keep_finite(found, model, np.stack(spreads, axis=1))
    return found


def _depth(columns: pd.DataFrame) -> int:
    return int(columns["layer"].max()) + 1


def _keep_finite(found: dict[str, Sample], model: str, layers: Sample) -> None:
    """Average over the layers that have a value; a model without any lacks the quantity."""
    finite = np.isfinite(layers[0])
    if finite.any():
        found[model] = layers[:, finite].mean(axis=1)
