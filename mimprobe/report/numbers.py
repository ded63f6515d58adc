"""Small tables of text, and those of figures that have no heads: kernels and receptive fields.

What belongs here: a table of text from one result table. What does not: the other words of a
section (`sections`), and drawing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mimprobe.figures import KERNEL_LABELS
from mimprobe.report.estimates import INTERVAL, Estimate
from mimprobe.report.wording import amount, value_of


@dataclass(frozen=True)
class Numbers:
    """A small table of text: a header, and rows whose first cell is theirs."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


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
        (str(row["model"]), float(row["share"])): amount(
            Estimate(float(row["value"]), INTERVAL * float(row["se"])), ""
        )
        for row in rows.to_dict("records")
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
