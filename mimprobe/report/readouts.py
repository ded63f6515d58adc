"""What a report says of read-outs: the best layers at the top, and numbers by layer.

What belongs here: words and numbers from the table `readout`. What does not: drawing it, and the
fixed words (`readings`).
"""

from typing import Any

import pandas as pd
from markupsafe import Markup

from mimprobe.claims.estimates import shown_within
from mimprobe.figures import POOLING_LABELS, READOUT_LABELS
from mimprobe.report.numbers import Numbers
from mimprobe.report.sentences import Looks
from mimprobe.report.summary import Finding
from mimprobe.report.wording import amount, named
from mimprobe.tables import CHANCE, Result, best_readouts


def readout_findings(result: Result, looks: Looks) -> list[Finding]:
    """Tell the best layer and pooling of each model, by read-out; nothing without the table."""
    if "readout" not in result or result["readout"].empty:
        return []
    told = []
    for metric, rows in best_readouts(result["readout"]).groupby("metric", sort=False):
        name = READOUT_LABELS.get(str(metric), str(metric))
        places = [_place(row, looks) for row in _records(rows)]
        told.append(Markup("{}: {}.").format(name.capitalize(), Markup("; ").join(places)))
    return [Finding("Where classes are read out best", Markup(" ").join(told), "readout")]


def readout_numbers(table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give for each read-out and pooling, with its title, the accuracy of each layer by model."""
    models = [str(model) for model in dict.fromkeys(table["model"])]
    told = [("The best layer and pooling of each model", _best(table))]
    rows = table[table["metric"] != CHANCE]
    for (metric, pooling), own in rows.groupby(["metric", "pooling"], sort=False):
        cells = {(str(row["model"]), int(row["layer"])): _cell(row) for row in _records(own)}
        lines = [
            [str(layer + 1), *(cells.get((model, layer), Markup()) for model in models)]
            for layer in sorted(set(own["layer"]))
        ]
        title = f"Accuracy: {READOUT_LABELS.get(str(metric), str(metric))}, {_pooled(pooling)}"
        told.append((title, Numbers(["layer", *models], lines)))
    return told


def _best(table: pd.DataFrame) -> Numbers:
    lines = [
        [
            str(row["model"]), READOUT_LABELS.get(str(row["metric"]), str(row["metric"])),
            str(int(row["layer"]) + 1), _pooled(row["pooling"]), _cell(row),
        ]
        for row in _records(best_readouts(table))
    ]  # fmt: skip
    return Numbers(["", "read-out", "layer", "pooling", "accuracy"], lines)


def _place(row: dict[str, Any], looks: Looks) -> Markup:
    """Name a model, its best layer and pooling, and the accuracy there."""
    model = str(row["model"])
    return Markup("{} at layer {}, {}, {}").format(
        named(model, looks[model]), int(row["layer"]) + 1, _pooled(row["pooling"]), _cell(row)
    )


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _pooled(pooling: object) -> str:
    return POOLING_LABELS.get(str(pooling), str(pooling))


def _cell(row: dict[str, Any]) -> Markup:
    """Write an accuracy with its interval, in per cent."""
    return amount(shown_within(100 * row["value"], 100 * row["se"], (0.0, 100.0)), "%")
