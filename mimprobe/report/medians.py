"""The numbers behind figures that have no mean over heads: kernels and receptive fields.

What belongs here: small tables of text from one result table. What does not: the other words of a
section (`sections`), and drawing.
"""

from collections.abc import Sequence

import pandas as pd

from mimprobe.figures import KERNEL_LABELS
from mimprobe.report.estimates import INTERVAL, Estimate
from mimprobe.report.wording import amount, value_of

Rows = Sequence[Sequence[str]]


def kernel_medians(table: pd.DataFrame) -> list[tuple[str, Sequence[str], Rows]]:
    """Give, for each metric, title, header, and by layer each model's median and quartiles."""
    models = list(dict.fromkeys(table["model"]))
    told = []
    for metric, rows in table.groupby("metric", sort=False):
        cells = {
            (str(model), int(str(layer))): _spread(own["value"])
            for (model, layer), own in rows.groupby(["model", "layer"])
        }
        unit = str(rows["unit"].iloc[0])
        told.append(
            (
                f"Median over channels (quartiles): {KERNEL_LABELS.get(str(metric), str(metric))}",
                ["layer" if unit == "1" else f"layer ({unit})", *models],
                [
                    [str(layer + 1), *(cells.get((model, layer), "") for model in models)]
                    for layer in sorted({layer for _, layer in cells})
                ],
            )
        )
    return told


def square_sides(table: pd.DataFrame) -> tuple[str, Sequence[str], Rows]:
    """Give title, header, and by model the sides of the squares with their intervals."""
    rows = table[table["metric"] == "square_side"]
    shares = sorted(rows["share"].unique())
    found = {
        (str(row["model"]), float(row["share"])): amount(
            Estimate(float(row["value"]), INTERVAL * float(row["se"])), ""
        )
        for row in rows.to_dict("records")
    }
    return (
        "Side of the smallest centred square (px) that holds this share of the contribution",
        ["", *(f"{share:.0%}" for share in shares)],
        [
            [model, *(found.get((model, share), "") for share in shares)]
            for model in dict.fromkeys(rows["model"])
        ],
    )


def _spread(values: "pd.Series[float]") -> str:
    low, middle, high = (
        value_of(Estimate(float(value))) for value in values.quantile([0.25, 0.5, 0.75])
    )
    return f"{middle} ({low} to {high})"
