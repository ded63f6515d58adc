"""How alike layers are, in one number, from the table of CKA.

What belongs here: averages over pairs of layers. What does not: words.

Pairs of layers share images, so the standard error of their mean is not known from theirs alone;
but it is at most the mean of theirs, whatever the correlation. Intervals here use that bound.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from mimprobe.claims.estimates import INTERVAL, Estimate, errors_of, within


def layers_alike(table: pd.DataFrame, model: str) -> Estimate | None:
    """Average CKA over all pairs of two different layers of a model; None if it has one layer."""
    rows = _pair(table, model, model)
    return _mean(rows[rows["layer"] < rows["other_layer"]])


def last_layers_alike(table: pd.DataFrame, model: str, other: str) -> Estimate | None:
    """Give the CKA between the last layers of two models."""
    rows = _pair(table, model, other)
    last = (rows["layer"] == rows["layer"].max()) & (
        rows["other_layer"] == rows["other_layer"].max()
    )
    return _mean(rows[last])


def models_alike(table: pd.DataFrame, model: str, other: str) -> Estimate | None:
    """Average CKA over all pairs of layers, one of each model."""
    return layers_alike(table, model) if model == other else _mean(_pair(table, model, other))


def _pair(table: pd.DataFrame, model: str, other: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["other_model"] == other)]


def _mean(rows: pd.DataFrame) -> Estimate | None:
    values = rows["value"].dropna()
    if values.empty:
        return None
    reach = INTERVAL * float(rows["se"].mean(skipna=False))
    return within(float(values.mean()), reach, int(rows["n"].min()))


def layers_more_alike(
    table: pd.DataFrame, model: str, other: str, groups: Mapping[str, Sequence[float]]
) -> Estimate | str:
    """Subtract the mean CKA of two layers of another model from that of a model.

    Where both models' means without each jackknife group are known, m_g, their differences d_g give
    the standard error sqrt((G - 1) / G sum_g (d_g - mean d)^2), paired by group, with Student's
    quantile of G - 1. Else the bound of each model is added to the other's.

    Args:
        table: the table `cka`.
        model: the model.
        other: the model to subtract.
        groups: by model, its mean CKA of two layers without each group of images.

    Returns:
        The difference, or why there is none.
    """
    found = {name: layers_alike(table, name) for name in (model, other)}
    lacking = [name for name, alike in found.items() if alike is None]
    one, two = found[model], found[other]
    if one is None or two is None:
        return f"{' and '.join(lacking)} has no CKA between two layers in this result"
    n = min(one.n, two.n)
    if model in groups and other in groups:
        left = np.subtract(groups[model], groups[other])
        se = math.sqrt((len(left) - 1) * float(left.var()))
        reach = errors_of(len(left)) * se
    else:
        reach = one.reach + two.reach
    return within(one.value - two.value, reach, n)
