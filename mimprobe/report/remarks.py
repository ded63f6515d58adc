"""What a reader should know of a table: which models it lacks, and why.

What belongs here: remarks that follow from a result. What does not: fixed words (`readings`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mimprobe.report.layer_tests import exchange_remarks
from mimprobe.tables import LAYER_TESTS, Result


def remarks_of(name: str, result: Result) -> list[str]:
    """Say which models a table lacks, and why; and what windowed models add to it."""
    table = result[name]
    present = set(table["model"])
    models: Sequence[Mapping[str, Any]] = result.manifest.get("models", [])
    if name == "kernels":
        plain = [str(m["name"]) for m in models if m["name"] not in present]
        return [f"No depth-wise convolutions: {', '.join(plain)}."] if plain else []
    if name in LAYER_TESTS:
        return exchange_remarks(table, models) if name == "layer_swap" else []
    if name == "readout":
        return [
            "The best layer is chosen on the images on which it is judged, so its accuracy is "
            "somewhat too high; choose it on images of your own before you quote it."
        ]
    if "head" not in table or (len(table) and table["head"].isna().all()):
        return []
    blind = [str(m["name"]) for m in models if not m.get("attention", True)]
    remarks = [f"No attention, and so not shown here: {', '.join(blind)}."] if blind else []
    if name == "prefix_mass":
        remarks += _prefix_remarks(table, [str(m["name"]) for m in models], blind)
    elif table.empty:
        remarks.append("No model here has attention that could be measured.")
    elif missing := [str(m["name"]) for m in models if m["name"] not in {*present, *blind}]:
        remarks.append(f"Without values: {', '.join(missing)}.")
    return remarks


def _prefix_remarks(table: pd.DataFrame, models: Sequence[str], blind: Sequence[str]) -> list[str]:
    present = set(table.loc[table["metric"] == "prefix_mass", "model"])
    plain = [model for model in models if model not in {*present, *blind}]
    remarks = [f"No prefix tokens: {', '.join(plain)}."] if plain else []
    masses = table.groupby(["model", "metric"], sort=False)["value"].max()
    for model in plain:
        told = [
            f"at most {float(masses[model, metric]):.2g} of a head's attention goes to {what}"
            for metric, what in (("padding_mass", "padding"), ("masked_mass", "masked keys"))
            if (model, metric) in masses.index
        ]
        if told:
            remarks.append(f"{model} looks through windows: {' and '.join(told)}.")
    return remarks
