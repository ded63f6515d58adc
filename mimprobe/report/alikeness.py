"""How alike layers are, in one number, from the table of CKA.

What belongs here: averages over pairs of layers. What does not: words.

Pairs of layers share images, so the standard error of their mean is not known from theirs alone;
but it is at most the mean of theirs, whatever the correlation. Intervals here use that bound.
"""

import pandas as pd

from mimprobe.report.estimates import INTERVAL, Estimate


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
    return Estimate(float(values.mean()), INTERVAL * float(rows["se"].mean(skipna=False)))
