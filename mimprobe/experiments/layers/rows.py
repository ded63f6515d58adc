"""The table of a layer test and its per-image values.

What belongs here: from outcomes to rows. What does not: the outcomes themselves (`outcomes`).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mimprobe.experiments.layers.outcomes import Outcome
from mimprobe.experiments.layers.variants import Variant
from mimprobe.tables import LAYER_TEST_COLUMNS, PER_IMAGE_KEYS, PerImageValues
from mimprobe.zoo.loaded import LoadedModel

WHOLE_NUMBERS = ("layer", "other_layer", "head", "seed")
"""Columns of numbers that are empty in some rows."""


class Tested(NamedTuple):
    """What came out for the variants of one point, which differ in their seeds at most."""

    model: LoadedModel
    variant: Variant
    outcomes: list[Outcome]


def outcome_table(test: str, pooling: str, tested: Iterable[Tested]) -> pd.DataFrame:
    """One row for each outcome; an exchange has one in each order of its blocks."""
    rows = [
        _row(test, pooling, found, outcome, *layers)
        for found in tested
        for layers in _orders(found.variant)
        for outcome in found.outcomes
    ]
    table = pd.DataFrame(rows, columns=list(LAYER_TEST_COLUMNS))
    return table.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))


def curve_values(test: str, tested: Sequence[Tested], images: tuple[str, ...]) -> PerImageValues:
    """Mean over seeds of whether each image is named rightly, at each point of the curves."""
    keys, values = [], []
    for found in tested:
        for outcome in found.outcomes if found.variant.on_curve else ():
            if outcome.seed is None and outcome.by_image is not None:
                keys.append((found.model.name, test, found.variant.changed, -1, outcome.metric))
                values.append(outcome.by_image)
    columns = pd.DataFrame(keys, columns=list(PER_IMAGE_KEYS))
    if not values:
        return PerImageValues((), columns, np.empty((0, 0), dtype=np.float32))
    return PerImageValues(images, columns, np.stack(values, axis=1).astype(np.float32))


def _orders(variant: Variant) -> list[tuple[int | None, int | None]]:
    pair = (variant.layer, variant.other_layer)
    return [pair] if variant.other_layer is None else [pair, (pair[1], pair[0])]


def _row(
    test: str,
    pooling: str,
    found: Tested,
    outcome: Outcome,
    layer: int | None,
    other_layer: int | None,
) -> tuple[object, ...]:
    variant, model = found.variant, found.model
    return (
        model.name, model.kind, test, variant.changed, layer, other_layer, variant.head,
        outcome.seed, pooling, outcome.metric, "1", outcome.value, outcome.std, outcome.se,
        outcome.n, outcome.note,
    )  # fmt: skip
