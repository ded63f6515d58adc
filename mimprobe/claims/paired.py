"""How far any two models of a result are apart: a table of paired differences.

What belongs here: differences of layer means, by layer and by part of the network. What does not:
which of them matter (one file for each claim).
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations

import pandas as pd

from mimprobe.claims.estimates import ImageVector, errors_of, estimate
from mimprobe.claims.quantities import Part, all_layers, end_layers, first_half, layer_mean
from mimprobe.tables import LAYER_TESTS, PerImageValues, Result

DIFFERENCE_COLUMNS = (
    "model", "kind", "other_model", "other_kind", "metric", "unit", "part", "layer", "value", "se",
    "low", "high", "n",
)  # fmt: skip
"""`value` is the mean over images of the first model less the other; `layer` is empty for parts."""

Place = tuple[str, int | None]
"""A part of a network, or `layer` with its number."""

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
    units = _units(result)
    means = {metric: _means(result.per_image, kinds, metric) for metric in units}
    rows = [
        {
            "model": one, "kind": kinds[one], "other_model": other, "other_kind": kinds[other],
            "metric": metric, "unit": unit, "part": part, "layer": layer,
            **_row(means[metric][one][part, layer] - means[metric][other][part, layer]),
        }
        for one, other in combinations(kinds, 2)
        for metric, unit in units.items()
        for part, layer in _shared(means[metric], one, other)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
    return table.astype({"layer": "Int64", "n": "int64"})


def _units(result: Result) -> dict[str, str]:
    """Give the unit of each metric that has one value for each image."""
    measured = set(result.per_image.columns["metric"])
    return {
        str(metric): str(rows["unit"].iloc[0])
        for name, table in result.items()
        if "head" in table and name not in LAYER_TESTS
        for metric, rows in table.groupby("metric", sort=False)
        if metric in measured
    }


def _means(
    values: PerImageValues, models: Iterable[str], metric: str
) -> dict[str, dict[Place, ImageVector]]:
    """Average over parts and layers, by model, one value for each image."""
    found = {}
    for model in models:
        own = values.select(model=model, metric=metric)
        places: dict[Place, Part] = {(name, None): part for name, part in PARTS.items()}
        places |= {("layer", at): partial(_only, at) for at in sorted(set(own.columns["layer"]))}
        found[model] = {
            place: means[model]
            for place, part in places.items()
            if (means := layer_mean(own, [model], metric, part))
        }
    return found


def _shared(
    means: Mapping[str, Mapping[Place, ImageVector]], one: str, other: str
) -> Iterator[Place]:
    """List the places that two models have; layers only of models that have as many."""
    depths = [max((at for _, at in means[model] if at is not None), default=0)
              for model in (one, other)]  # fmt: skip
    for place in means[one]:
        if place in means[other] and (place[0] != "layer" or depths[0] == depths[1]):
            yield place


def _only(layer: int, depth: int) -> range:  # noqa: ARG001
    return range(layer, layer + 1)


def _row(samples: ImageVector) -> dict[str, float]:
    found = estimate(samples)
    se = found.reach / errors_of(found.n)
    return {"value": found.value, "se": se, "low": found.low, "high": found.high, "n": found.n}
