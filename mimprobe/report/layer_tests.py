"""What is said of layer tests beside their figures.

What belongs here: facts, remarks and the page's title. What does not: how to read the figures
(`readings`), verdicts (`verdicts`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mimprobe.claims.estimates import INTERVAL
from mimprobe.claims.losses import READOUTS
from mimprobe.figures import LABELS
from mimprobe.report.wording import counted, listed
from mimprobe.tables import Result
from mimprobe.tables.layer_tests import DRIFT, exchange_rows

TESTED = {
    "layer_swap": "layers exchanged",
    "layer_drop": "layers dropped",
    "layer_reset": "layers reset",
    "layer_heads": "heads masked",
}

SHORT = 2
"""Most tests that a title lists."""

POOLINGS = {
    "mean": "mean of the patch tokens",
    "cls": "class token",
    "both": "mean of the patch tokens and class token, side by side",
}


def tested(result: Result) -> str:
    """Say what was done to the networks, for a title."""
    done = [words for name, words in TESTED.items() if name in result]
    return str(listed(done)) if len(done) <= SHORT else "layer tests"


def layer_facts(table: pd.DataFrame, described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List images, definition, read-out and intervals of a layer test."""
    counts = table["n"].dropna()
    facts = [("Images", f"n = {int(counts.max()):,}" if len(counts) else "none")]
    if "definition" in described:
        facts.append(("Definition", str(described["definition"])))
    if found := [_readout(metric, described) for metric in dict.fromkeys(table["metric"])]:
        facts.append(("Read-outs", ", ".join(found)))
    frozen = table[table["metric"] != "finetune_accuracy"]
    layer = described.get("layer")
    if "layer" in described and len(frozen):
        last = "the last block, behind the final norm"
        inner = f"layer {int(layer or 0) + 1}; what is changed only behind it is left out"
        facts.append(("Read out at", last if layer is None else inner))
    pooled = list(dict.fromkeys(frozen["pooling"].dropna()))
    if pooled:
        facts.append(("Pooling", ", ".join(POOLINGS.get(str(one), str(one)) for one in pooled)))
    seeds = int(table["seed"].dropna().nunique())
    told = {0: "none; nothing here is drawn at random", 1: "1; one draw tells nothing of others"}
    facts.append(("Seeds", told.get(seeds, str(seeds))))
    if "chance" in described:
        facts.append(("By chance", f"{described['chance']:.2g}"))
    return [*facts, ("Intervals", _intervals(table, seeds))]


def _readout(metric: str, described: Mapping[str, Any]) -> str:
    if metric == DRIFT:
        return "CKA to the intact network's features"
    told = f"accuracy {READOUTS.get(metric, metric)}"
    return (
        f"{told} (k = {described['k']})" if metric == "knn_accuracy" and "k" in described else told
    )


def _intervals(table: pd.DataFrame, seeds: int) -> str:
    """Say what the standard errors are, and why some are missing."""
    lacking = table.loc[table["se"].isna(), "note"].dropna()
    notes = [str(note) for note in dict.fromkeys(lacking) if note]
    missing = f"; without: {'; '.join(notes)}" if notes else ""
    if not table["se"].notna().any():
        return f"no standard errors{missing}"
    over = "images and seeds" if seeds > 1 else "images"
    drawn = (
        f"bands and bars are the mean \N{PLUS-MINUS SIGN} 1.96 standard errors over {over}, cut at "
        "the ends of what the metric can be"
    )
    cells = table[table["other_layer"].notna() | table["head"].notna()]
    widest = [
        f"{LABELS.get(str(metric), str(metric))} \N{PLUS-MINUS SIGN} {INTERVAL * reach:.2g}"
        for metric, reach in cells.groupby("metric", sort=False)["se"].max().dropna().items()
    ]
    if widest:
        drawn += f"; the widest 95 % interval of a cell: {', '.join(widest)}"
    return drawn + missing


def exchange_remarks(table: pd.DataFrame, models: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say of networks with stages how few of their blocks can change places."""
    remarks = []
    for model in models:
        own = exchange_rows(table[table["model"] == model["name"]])
        pairs = len(
            own[own["layer"] < own["other_layer"]].drop_duplicates(["layer", "other_layer"])
        )
        blocks = int(model.get("layers") or 0)
        if pairs < (possible := blocks * (blocks - 1) // 2):
            remarks.append(
                f"Of the {possible} pairs of blocks of {model['name']}, {pairs} can change places; "
                f"its curve draws from {counted(len(set(own['layer'])), 'block')}."
            )
    return remarks
