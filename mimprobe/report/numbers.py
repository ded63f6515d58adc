"""The numbers behind the figures, as small tables of text.

What belongs here: a table of text from one result table. What does not: the other words of a
section (`sections`), and drawing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mimprobe.claims.alikeness import models_alike
from mimprobe.claims.estimates import Estimate, shown_within
from mimprobe.figures import KERNEL_LABELS, LABELS
from mimprobe.report.wording import amount, value_of
from mimprobe.tables import LAYER_TESTS, limits_of
from mimprobe.tables.layer_tests import curve_rows, over_seeds


@dataclass(frozen=True)
class Numbers:
    """A small table of text: a header, and rows whose first cell is theirs."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def numbers_of(name: str, table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give the numbers behind the figures: of layers by model, or their mean by pair of models."""
    if table.empty:
        return []
    if name == "kernels":
        return kernel_medians(table)
    if name == "receptive_field":
        return square_sides(table)
    if name in LAYER_TESTS:
        return curve_numbers(table)
    if "other_model" in table:
        what = LABELS.get(name, name)
        return [
            (
                f"Mean {what} over pairs of layers; within a model, of different layers",
                _pairs(table),
            )
        ]
    if name == "attention_profile":
        return [
            (f"Mean over heads: share of attention on {what}", _layers(_ring(table, ring)))
            for ring, what in enumerate(("the query's own patch", "the patches next to it"))
            if len(_ring(table, ring))
        ]
    if name == "attention_offset" or "head" not in table:
        return []
    singles = table[table["at"].isna()] if "at" in table else table
    return [
        (f"Layer means: {LABELS.get(str(metric), str(metric))}", _layers(rows))
        for metric, rows in singles.groupby("metric", sort=False)
    ]


def curve_numbers(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give for each metric of a layer test the models' values by blocks changed, with a title.

    None of tests without curves.
    """
    models = list(dict.fromkeys(table["model"]))
    told, curves = [], over_seeds(curve_rows(table))
    if not (curves["changed"] > 0).any():
        return []
    for metric, rows in curves.groupby("metric", sort=False):
        cells = {
            (str(row["model"]), int(row["changed"])): _cell(row) for row in rows.to_dict("records")
        }
        lines = [
            [str(changed) if changed else "0 (intact)",
             *(cells.get((model, changed), "") for model in models)]
            for changed in sorted(set(rows["changed"].astype(int)))
        ]  # fmt: skip
        label = LABELS.get(str(metric), str(metric))
        told.append((f"{label[:1].upper()}{label[1:]}", Numbers(["changed", *models], lines)))
    return told


def _ring(table: pd.DataFrame, ring: int) -> pd.DataFrame:
    """Keep one ring of every layer, counted from the query's own patch outwards."""
    places = table.groupby(["model", "layer"])["distance_low"].rank("dense") - 1
    return table[places == ring]


def _layers(rows: pd.DataFrame) -> Numbers:
    means = rows[rows["head"].isna()]
    models = list(dict.fromkeys(means["model"]))
    cells = {(str(row["model"]), int(row["layer"])): _cell(row) for row in means.to_dict("records")}
    layers = sorted({layer for _, layer in cells})
    unit = str(rows["unit"].iloc[0])
    return Numbers(
        ["layer" if unit == "1" else f"layer ({unit})", *models],
        [[str(at + 1), *(cells.get((model, at), "") for model in models)] for at in layers],
    )


def _cell(row: Mapping[Any, Any]) -> str:
    limits = limits_of(str(row.get("metric", "")))
    return amount(shown_within(float(row["value"]), float(row["se"]), limits), "")


def _pairs(table: pd.DataFrame) -> Numbers:
    models = list(dict.fromkeys(table["model"]))
    return Numbers(
        ["", *models],
        [[up, *(_alike(table, up, across) for across in models)] for up in models],
    )


def _alike(table: pd.DataFrame, up: str, across: str) -> str:
    found = models_alike(table, up, across)
    return "" if found is None else amount(found, "")


def kernel_medians(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give for each metric, with its title, each model's median and quartiles by layer."""
    models = list(dict.fromkeys(table["model"]))
    told = []
    for metric, rows in table.groupby("metric", sort=False):
        cells = {
            (str(model), int(str(layer))): _spread(own["value"])
            for (model, layer), own in rows.groupby(["model", "layer"])
        }
        unit = str(rows["unit"].iloc[0])
        header = ["layer" if unit == "1" else f"layer ({unit})", *models]
        lines = [
            [str(layer + 1), *(cells.get((model, layer), "") for model in models)]
            for layer in sorted({layer for _, layer in cells})
        ]
        name = KERNEL_LABELS.get(str(metric), str(metric))
        told.append((f"Median over channels (quartiles): {name}", Numbers(header, lines)))
    return told


def square_sides(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give by model the sides of the squares with their intervals, under a title."""
    rows = table[table["metric"] == "square_side"]
    shares = sorted(rows["share"].unique())
    found = {
        (str(row["model"]), float(row["share"])): _cell(row) for row in rows.to_dict("records")
    }
    lines = [
        [model, *(found.get((model, share), "") for share in shares)]
        for model in dict.fromkeys(rows["model"])
    ]
    title = "Side of the smallest centred square (px) that holds this share of the contribution"
    return [(title, Numbers(["", *(f"{share:.0%}" for share in shares)], lines))]


def _spread(values: "pd.Series[float]") -> str:
    low, middle, high = (
        value_of(Estimate(float(value))) for value in values.quantile([0.25, 0.5, 0.75])
    )
    return f"{middle} ({low} to {high})"
