"""What a report says of a run that was watched: figures, numbers and findings over its steps.

What belongs here: everything that differs where tables have a column `step`. What does not: drawing
(`figures.steps`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.claims.estimates import INTERVAL, Estimate, within
from mimprobe.figures import LABELS, Style, head_steps, layer_steps
from mimprobe.report.numbers import Numbers
from mimprobe.report.plate import Plate
from mimprobe.report.summary import Finding
from mimprobe.report.wording import amount
from mimprobe.tables import STEP, Result

SHOWN = 6
"""Steps that a table of numbers shows, evenly spread from the first to the last."""

SETTLED = 0.9
"""CKA with its final state above which a layer is said to have settled."""

READINGS = {
    "cka_to_final": (
        "Each line is a layer, compared with itself at the end of training on the same images: 1 "
        "where it already holds the same information up to rotation and scale.",
        "Layers whose lines rise first settle first; a line that is still steep near the end "
        "belongs to a layer that longer training would change further.",
    ),
}

LINES = (
    "Each line is a layer against the step of training, from dark (the first) to light (the last); "
    "in the small panels a thin line is a head.",
    "Lines that part are layers, or heads, that take up different tasks; flat ones are at rest.",
)
"""How to read the figures of the other tables."""


def is_watched(result: Result) -> bool:
    """Say whether the tables are of one network at several steps of its training."""
    return any(STEP in table for table in result.values())


def step_reading(name: str) -> tuple[str, ...]:
    """Give two sentences on how to read a table's figures."""
    return READINGS.get(name, LINES)


def step_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    """Give the lines of the layers, then those of the heads of some layers.

    Tables of pairs, and of values by distance or offset, have no such lines.
    """
    if not _has_lines(table):
        return
    metrics = [str(metric) for metric in dict.fromkeys(_lines(table)["metric"])]
    for metric in metrics:
        if metric.removesuffix("_normalised") in metrics[: metrics.index(metric)]:
            continue  # in one network it is the same lines on another scale
        yield Plate(
            f"{metric}_steps",
            "A line for each layer, the first dark and the last light.",
            partial(_draw, layer_steps, table, styles, metric),
        )
        if table.loc[table["metric"] == metric, "head"].notna().any():
            yield Plate(
                f"{metric}_steps_heads",
                "Thin lines are heads, the thick line is their mean; some layers.",
                partial(_draw, head_steps, table, styles, metric),
            )


def step_numbers(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give layer means at some steps, a table for each run and metric."""
    if not _has_lines(table):
        return []
    told = []
    for (model, metric), rows in _lines(table).groupby(["model", "metric"], sort=False):
        present = sorted(int(step) for step in rows[STEP].unique())
        places = np.linspace(0, len(present) - 1, min(SHOWN, len(present))).round().astype(int)
        steps = [present[place] for place in places]
        cells = {
            (int(row["layer"]), int(row[STEP])): amount(_estimate(row), "")
            for row in rows.to_dict("records")
        }
        unit = str(rows["unit"].iloc[0])
        header = ["layer" if unit == "1" else f"layer ({unit})", *(f"step {at:,}" for at in steps)]
        lines = [
            [str(layer + 1), *(cells.get((layer, step), "") for step in steps)]
            for layer in sorted({layer for layer, _ in cells})
        ]
        name = LABELS.get(str(metric), str(metric))
        told.append((f"{model}, layer means: {name}", Numbers(header, lines)))
    return told


def step_findings(result: Result) -> list[Finding]:
    """Tell of each table which layer changed most, and when the layers settled."""
    findings = []
    for name, table in result.items():
        if not _has_lines(table):
            continue
        rows = _lines(table)
        rows = rows[rows["metric"] == rows["metric"].iloc[0]]
        tell = _settled if name == "cka_to_final" else _most_changed
        label = LABELS.get(name, name)
        texts = [tell(own) for _, own in rows.groupby("model", sort=False)]
        findings.append(Finding(label[:1].upper() + label[1:], Markup(" ").join(texts), name))
    return findings


def _most_changed(rows: pd.DataFrame) -> Markup:
    first, last = int(rows[STEP].min()), int(rows[STEP].max())
    ends = {step: rows[rows[STEP] == step].set_index("layer") for step in (first, last)}
    changed = (ends[last]["value"] - ends[first]["value"]).abs()
    if first == last or not changed.notna().any():
        return Markup("Seen at step {} only.").format(f"{first:,}")
    layer, unit = int(str(changed.idxmax())), str(rows["unit"].iloc[0])
    then, now = (
        amount(_estimate(ends[step].loc[layer]), "" if unit == "1" else unit)
        for step in (first, last)
    )
    return Markup("Layer {} changed most: {} at step {}, {} at step {}.").format(
        layer + 1, then, f"{first:,}", now, f"{last:,}"
    )


def _settled(rows: pd.DataFrame) -> Markup:
    """Say from which step on every layer resembles its final state."""
    lowest = rows.groupby(STEP)["value"].min().sort_index()
    above = (lowest > SETTLED)[::-1].cumprod().astype(bool)[::-1]
    first, start = int(rows[STEP].min()), int(lowest[above].index.min())
    begin = rows[rows[STEP] == first].sort_values("value").iloc[0]
    return Markup(
        "At step {} the layer least like its final state is {}, with {}; from step {} on all "
        "layers are above {} wherever the run was looked at."
    ).format(
        f"{first:,}", int(begin["layer"]) + 1, amount(_estimate(begin), ""), f"{start:,}", SETTLED
    )  # fmt: skip


def _estimate(row: Any) -> Estimate:
    return within(float(row["value"]), INTERVAL * float(row["se"]))


def _has_lines(table: pd.DataFrame) -> bool:
    """Say whether layers have one value each; a profile or an offset map has many."""
    many = {"other_layer", "other_head", "distance_low", "row_offset", "channel"}
    return "head" in table and not many & set(table.columns) and not table.empty


def _lines(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the values of layers, without heads and without points of curves."""
    rows = table[table["head"].isna()]
    return rows[rows["at"].isna()] if "at" in rows else rows


def _draw(
    draw: Callable[..., Sequence[Axes]], table: pd.DataFrame, styles: Mapping[str, Style],
    metric: str, figure: Figure,
) -> Sequence[Axes]:  # fmt: skip
    rows = table[table["at"].isna()] if "at" in table else table
    return draw(rows, metric=metric, styles=styles, figure=figure)
