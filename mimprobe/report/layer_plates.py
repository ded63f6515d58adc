"""Which figures the table of a layer test gives.

What belongs here: names and captions of figures, and with what they are drawn. What does not:
drawing (`figures`) and other tables (`plates`).
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures import (
    LABELS,
    READOUTS,
    Style,
    block_panels,
    change_curves,
    exchange_maps,
    head_maps,
)
from mimprobe.report.plate import Plate
from mimprobe.tables.layer_tests import (
    DRIFT,
    block_rows,
    curve_rows,
    exchange_rows,
    single_head_rows,
)

Looks = Mapping[str, Style]
Depths = Mapping[str, int]

CURVES = {
    "layer_swap": "after so many blocks changed places, mean over seeds",
    "layer_drop": "without the last blocks",
    "layer_reset": "with fresh weights in the last blocks, mean over seeds",
    "layer_heads": "without so many heads",
}
BLOCKS = {
    "layer_drop": "without one block",
    "layer_reset": "with fresh weights in one block",
}


def layer_test_plates(
    name: str, table: pd.DataFrame, styles: Looks, manifest: Mapping[str, Any]
) -> Iterator[Plate]:
    """List the figures of a layer test, those of the dearest read-out first.

    Args:
        name: the table's.
        table: not empty.
        styles: of all models.
        manifest: of the result; it may tell the depth of models and the accuracy of guessing.
    """
    depths = {
        str(model["name"]): int(model["layers"])
        for model in manifest.get("models", []) if model.get("layers")
    }  # fmt: skip
    chance = manifest.get("analyzers", {}).get(name, {}).get("chance")
    for metric in sorted(dict.fromkeys(table["metric"]), key=_place):
        rows = table[table["metric"] == metric]
        what = LABELS.get(metric, metric)
        label = f"{what[:1].upper()}{what[1:]}"
        if (curve_rows(rows)["changed"] > 0).any():
            yield Plate(
                f"{name}_{metric}", f"{label} {CURVES[name]}.",
                partial(_curves, table, metric, styles, depths, chance),
            )  # fmt: skip
        if len(pairs := exchange_rows(rows)):
            cells = pairs.groupby("model", sort=False).size().to_dict()
            whole = all(depths.get(str(model)) == _side(count) for model, count in cells.items())
            grey = "" if whole else ", grey what was not exchanged"
            yield Plate(
                f"{name}_{metric}_pairs",
                f"{label if metric == DRIFT else f'Loss of {what}'} after one exchange of two "
                f"blocks, a panel for each model; on the diagonal the intact network{grey}.",
                partial(_exchanges, table, metric, styles, depths),
            )
        if len(block_rows(rows)):
            yield Plate(
                f"{name}_{metric}_blocks",
                f"{label} {BLOCKS.get(name, 'with one block changed')}; the line is the intact "
                "network.",
                partial(_blocks, table, metric, styles),
            )
        if len(single_head_rows(rows)):
            yield Plate(
                f"{name}_{metric}_heads", f"Loss of {what} without each head.",
                partial(_heads, table, metric, styles),
            )  # fmt: skip


def _side(cells: int) -> int:
    """Give the blocks of which all ordered pairs are so many."""
    return round(0.5 + math.sqrt(0.25 + cells))


def _place(metric: str) -> int:
    return READOUTS.index(metric) if metric in READOUTS else len(READOUTS)


def _curves(
    table: pd.DataFrame, metric: str, styles: Looks, depths: Depths, chance: float | None,
    figure: Figure,
) -> list[Axes]:  # fmt: skip
    return change_curves(
        table, metric=metric, styles=styles, figure=figure, depths=depths, chance=chance
    )


def _exchanges(
    table: pd.DataFrame, metric: str, styles: Looks, depths: Depths, figure: Figure
) -> list[Axes]:
    return exchange_maps(table, metric=metric, styles=styles, figure=figure, depths=depths)


def _blocks(table: pd.DataFrame, metric: str, styles: Looks, figure: Figure) -> list[Axes]:
    return block_panels(table, metric=metric, styles=styles, figure=figure)


def _heads(table: pd.DataFrame, metric: str, styles: Looks, figure: Figure) -> list[Axes]:
    return head_maps(table, metric=metric, styles=styles, figure=figure)
