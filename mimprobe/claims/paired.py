"""How far any two models of a result are apart: a table of paired differences.

What belongs here: differences of layer means, by layer and by part of the network. What does not:
which of them matter (one file for each claim).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations
from typing import Any

import pandas as pd

from mimprobe.claims.estimates import ImageVector, estimate
from mimprobe.claims.quantities import Part, all_layers, end_layers, first_half, layer_mean
from mimprobe.tables import PerImageValues, Result

DIFFERENCE_COLUMNS = (
    "model", "kind", "other_model", "other_kind", "metric", "unit", "part", "layer", "value", "se",
    "low", "high", "n",
)  # fmt: skip
"""`value` is the mean over images of the first model less the other; `layer` is empty for parts."""

PARTS: Mapping[str, Part] = {
    "all layers": all_layers,
    "first half": first_half,
    "last third": end_layers,
}
"""Parts of a network that models of any depth have."""


def differences(result: Result) -> pd.DataFrame:
    """Subtract models from each other, image by image, for every metric with per-image values.

    The difference of layer means m over n images, d_i = m_i(model) - m_i(other_model), has the
    value mean(d), the standard error std(d) / sqrt(n) and Student's 95 % interval: `se`, `low` and
    `high` are empty where fewer than two images have a value.

    Args:
        result: measured, or read back.

    Returns:
        A row for each pair of models, in the result's order, each metric, and each part of the
        network; and one for each layer where both models have as many.
    """
    kinds = {
        str(model["name"]): str(model.get("kind", "other"))
        for model in result.manifest.get("models", [])
    }
    rows = [
        {
            "model": one, "kind": kinds[one], "other_model": other, "other_kind": kinds[other],
            "metric": metric, "unit": unit, **found,
        }
        for one, other in combinations(kinds, 2)
        for metric, unit in _units(result).items()
        for found in _apart(result.per_image, one, other, metric)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
    return table.astype({"layer": "Int64", "n": "int64"})


def _units(result: Result) -> dict[str, str]:
    """Give the unit of each metric that has one value for each image."""
    measured = set(result.per_image.columns["metric"])
    return {
        str(metric): str(rows["unit"].iloc[0])
        for table in result.values()
        if "head" in table
        for metric, rows in table.groupby("metric", sort=False)
        if metric in measured
    }


def _apart(values: PerImageValues, one: str, other: str, metric: str) -> Iterator[dict[str, Any]]:
    own = values.select(metric=metric)
    depths = own.columns.groupby("model")["layer"].max()
    if not {one, other} <= set(depths.index):
        return
    parts: dict[tuple[str, int | None], Part] = {(name, None): part for name, part in PARTS.items()}
    if depths[one] == depths[other]:
        parts |= {("layer", at): partial(_only, at) for at in range(int(depths[one]) + 1)}
    for (name, layer), part in parts.items():
        means = layer_mean(own, [one, other], metric, part)
        if len(means) == 2:
            yield {"part": name, "layer": layer, **_row(means[one] - means[other])}


def _only(layer: int, depth: int) -> range:  # noqa: ARG001
    return range(layer, layer + 1)


def _row(samples: ImageVector) -> dict[str, Any]:
    found = estimate(samples)
    present = samples[pd.notna(samples)]
    se = pd.Series(present).sem()
    return {"value": found.value, "se": se, "low": found.low, "high": found.high, "n": found.n}
