"""The table of a layer test and its per-image values.

What belongs here: from outcomes to rows. What does not: the outcomes themselves (`outcomes`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from mimprobe.experiments.layers.checks import FINETUNE
from mimprobe.experiments.layers.outcomes import Outcome
from mimprobe.experiments.layers.variants import Point
from mimprobe.experiments.saved_steps import Saved
from mimprobe.tables import LAYER_TEST_COLUMNS, PER_IMAGE_KEYS, PerImageValues
from mimprobe.zoo.loaded import LoadedModel

WHOLE_NUMBERS = ("layer", "other_layer", "head", "seed")
"""Columns of numbers that are empty in some rows."""


class Tested(NamedTuple):
    """What came out for the variants of one point, which differ in their seeds at most."""

    model: LoadedModel
    point: Point
    outcomes: list[Outcome]


def saved(tested: Iterable[Tested]) -> Saved:
    """Give what came out for a model as numbers, words and tensors."""
    return [(tuple(found.point), [_plain(one) for one in found.outcomes]) for found in tested]


def taken_up(model: LoadedModel, found: Saved) -> list[Tested]:
    """Give back what `saved` was given."""
    return [
        Tested(model, Point(*point), [_outcome(one) for one in outcomes])
        for point, outcomes in found
    ]


def _plain(outcome: Outcome) -> dict[str, object]:
    fields = asdict(outcome)
    if outcome.by_image is not None:
        fields["by_image"] = torch.from_numpy(outcome.by_image)
    return fields


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    images = fields["by_image"]
    return Outcome(**{**fields, "by_image": None if images is None else images.numpy()})


def outcome_table(test: str, pooling: str, tested: Iterable[Tested]) -> pd.DataFrame:
    """One row for each outcome; an exchange has one in each order of its blocks."""
    rows = [
        _row(test, pooling, found, outcome, *layers)
        for found in tested
        for layers in _orders(found.point)
        for outcome in found.outcomes
    ]
    table = pd.DataFrame(rows, columns=list(LAYER_TEST_COLUMNS))
    return table.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))


def curve_values(test: str, tested: Sequence[Tested], images: tuple[str, ...]) -> PerImageValues:
    """Mean over seeds of whether each image is named rightly, at each point of the curves."""
    keys, values = [], []
    for found in tested:
        for outcome in found.outcomes if found.point.on_curve else ():
            if outcome.seed is None and outcome.by_image is not None:
                keys.append((found.model.name, test, found.point.changed, -1, outcome.metric))
                values.append(outcome.by_image)
    columns = pd.DataFrame(keys, columns=list(PER_IMAGE_KEYS))
    if not values:
        return PerImageValues((), columns, np.empty((0, 0), dtype=np.float32))
    return PerImageValues(images, columns, np.stack(values, axis=1).astype(np.float32))


def _orders(point: Point) -> list[tuple[int | None, int | None]]:
    pair = (point.layer, point.other_layer)
    return [pair] if point.other_layer is None else [pair, (pair[1], pair[0])]


def _row(
    test: str,
    pooling: str,
    found: Tested,
    outcome: Outcome,
    layer: int | None,
    other_layer: int | None,
) -> tuple[object, ...]:
    point, model = found.point, found.model
    pooled = "mean" if outcome.metric.startswith(FINETUNE) else pooling  # the classifier's own way
    return (
        model.name, model.kind, test, point.changed, layer, other_layer, point.head,
        outcome.seed, pooled, outcome.metric, "1", outcome.value, outcome.std, outcome.se,
        outcome.n, outcome.note,
    )  # fmt: skip
