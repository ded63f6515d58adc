"""The schema of a result: the columns of its tables, and the values of every image.

What belongs here: names of columns and kinds. What does not: files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mimprobe.errors import OutputError, UnknownNameError

KINDS = ("supervised", "distilled", "contrastive", "mim", "untrained", "other")
"""Kinds of training, in the order in which legends list them."""

AT_MOST_ONE = frozenset({"cka", "cka_to_final", "drift"})
"""Metrics between -1 and 1."""

HEAD_COLUMNS = (
    "model",
    "kind",
    "site",
    "layer",
    "head",
    "metric",
    "unit",
    "value",
    "std",
    "se",
    "n",
)
"""A per-image metric: one row for each model, layer, head and metric.

`head` is empty in the rows that hold the mean over a layer's heads. `value` is the mean over
images, `std` the standard deviation over images, `se` its standard error, `n` the images that have
a value. `layer` counts from 0 in execution order.
"""

CURVE_COLUMNS = (*HEAD_COLUMNS, "at")
"""Metrics of layers, some of which are curves.

`at` is where on its curve a value stands (a frequency as a share of the highest, the index of a
singular value from 1); empty for a value that is no point on a curve. `head` is empty.
"""

STEP = "step"
"""Column of a table of one network at several steps of its training: optimiser steps taken.

Such a table is one of the others with this column behind `kind`; it has no per-image values.
"""

FINAL_COLUMNS = (
    "model", "kind", STEP, "site", "layer", "head", "metric", "unit", "value", "std", "se", "n",
    "note",
)  # fmt: skip
"""How alike a layer is to itself at the end of training: one row for each watched step and layer.

`head` and `std` are empty, `se` is a jackknife over groups of images, `note` says why it is empty.
"""

PAIR_COLUMNS = (
    "model", "kind", "site", "layer", "other_model", "other_kind", "other_site", "other_layer",
    "metric", "unit", "value", "std", "se", "n", "note",
)  # fmt: skip
"""A metric between two layers. Of a set-level metric `std` is empty, `se` a jackknife over groups.

Both orders of a pair are present, so that a heat map is one pivot. `note` says why `se` is empty.
"""

HEAD_PAIR_COLUMNS = (
    "model", "kind", "site", "layer", "head", "other_head", "metric", "unit", "value", "std", "se",
    "n",
)  # fmt: skip
"""A metric between two heads of a layer: one row for each ordered pair of two different heads.

Both heads are empty in the rows that hold the mean over a layer's pairs.
"""

PROFILE_COLUMNS = (
    "model", "kind", "site", "layer", "head", "distance_low", "distance_high", "metric", "unit",
    "value", "uniform", "std", "se", "n",
)  # fmt: skip
"""A share of each head's attention by distance: one row for each ring around the query.

A ring goes from `distance_low` to `distance_high`, in pixels of the network's input. `uniform` is
what attention that is equal over all valid keys would give there. `head` is empty in the rows that
hold the mean over a layer's heads.
"""

OFFSET_COLUMNS = (
    "model", "kind", "site", "layer", "head", "row_offset", "column_offset", "metric", "unit",
    "value", "uniform", "std", "se", "n",
)  # fmt: skip
"""A metric by offset of key less query, in patches: one row for each offset of each head.

`uniform` is what attention that is equal over all valid keys would give there.
"""

CHANNEL_COLUMNS = (
    "model", "kind", "site", "layer", "convolution", "channel", "metric", "unit", "value", "std",
    "se", "n", "note",
)  # fmt: skip
"""A metric of weights: one row for each model, layer, convolution, channel and metric.

`convolution` is the module's name within its block. No image enters: `std` and `se` are empty and
`n` is 0.
"""

PIXEL_COLUMNS = (
    "model", "kind", "site", "layer", "row", "column", "share", "metric", "unit", "value", "std",
    "se", "n", "note",
)  # fmt: skip
"""A map over the pixels of a network's input, and what follows from it.

`row` and `column` are in pixels, from 0 at the top left. Rows of a map have no `share`. Rows with
the side of a square have its middle, which may lie between pixels, and as `share` the part of the
whole map that lies in it.
"""

READOUT_COLUMNS = (
    "model", "kind", "site", "layer", "pooling", "metric", "unit", "value", "std", "se", "n",
    "note",
)  # fmt: skip
"""How well a read-out does: one row for each model, layer, pooling and metric.

`metric` names the read-out, as `knn_accuracy`, or is `chance_accuracy`. `pooling` is `mean`, `cls`
or `both`, or `tokens` where the read-out pools by itself. Several seeds and the images of the
validation set are behind `se`; `n` counts the images; `note` says what was chosen, as `C = 0.1`. In
per-image values the metric names the pooling too, as `knn_accuracy_mean`.
"""

LAYER_TEST_COLUMNS = (
    "model", "kind", "test", "changed", "layer", "other_layer", "head", "seed", "pooling", "metric",
    "unit", "value", "std", "se", "n", "note",
)  # fmt: skip
"""What is left of a network whose blocks were changed: the tables `layer_swap` and its like.

`test` is `swap`, `drop`, `reset` or `heads`; `changed` the number of blocks (or heads) changed, 0
in the row of the intact network. Rows of the curve have neither `layer` nor `head`; `seed` is empty
in those that hold the mean over seeds. Rows with `layer` and `other_layer` are of one exchange
(both orders are there), with `layer` alone of one block, with `layer` and `head` of one head.
`metric` is `drift` (CKA to the intact network) or names a read-out, as `knn_accuracy`. In per-image
values `site` is the test, `layer` the number changed, and the values are means over seeds.
"""

LAYER_TESTS = ("layer_swap", "layer_drop", "layer_reset", "layer_heads")
"""Tables with `LAYER_TEST_COLUMNS`; behind the underscore stands the test, as their columns say it.

Their per-image values have the test as `site` and the number changed as `layer`: they are no values
of layers, and no other table's metrics may be sought among them.
"""

TEXT_COLUMNS = (
    "model", "kind", "site", "other_model", "other_kind", "other_site", "convolution", "metric",
    "unit", "note", "test", "pooling",
)  # fmt: skip
"""Columns that stay text when read back, even where a model is called `1` or `nan`."""

PER_IMAGE_KEYS = ("model", "site", "layer", "head", "metric")
"""What identifies a column of `PerImageValues`; a layer mean has head -1."""


@dataclass(frozen=True)
class PerImageValues:
    """The value of every image: `values[i, c]` belongs to `images[i]` and row c of `columns`."""

    images: tuple[str, ...]
    columns: pd.DataFrame
    values: npt.NDArray[np.float32]

    def select(self, **where: object) -> "PerImageValues":
        """Keep the columns whose keys equal those given, such as `metric="head_kl"`."""
        for key in where:
            if key not in PER_IMAGE_KEYS:
                raise UnknownNameError("per-image key", key, PER_IMAGE_KEYS)
        keep = np.ones(len(self.columns), dtype=bool)
        for key, wanted in where.items():
            keep &= (self.columns[key] == wanted).to_numpy()
        columns = self.columns[keep].reset_index(drop=True)
        return PerImageValues(self.images, columns, self.values[:, keep])


def join_per_image(parts: Sequence[PerImageValues]) -> PerImageValues:
    """Put the columns of several analyzers, measured on the same images, beside each other.

    Raises:
        OutputError: they are not of the same images.
    """
    filled = [part for part in parts if len(part.columns)]
    if not filled:
        empty = pd.DataFrame(columns=list(PER_IMAGE_KEYS))
        return PerImageValues((), empty, np.empty((0, 0), dtype=np.float32))
    if any(part.images != filled[0].images for part in filled):
        raise OutputError("per-image values of different images cannot be joined")
    columns = pd.concat([part.columns for part in filled], ignore_index=True)
    return PerImageValues(
        filled[0].images, columns, np.concatenate([part.values for part in filled], axis=1)
    )


def limits_of(metric: str) -> tuple[float, float]:
    """Give the least and the largest value that a metric can have; infinite where there is none.

    An interval of value and standard error may reach beyond them and is cut there when it is shown.
    """
    if metric.endswith("_accuracy"):
        return 0.0, 1.0
    return (-1.0, 1.0) if metric in AT_MOST_ONE else (-math.inf, math.inf)
