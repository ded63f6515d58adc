"""One section of the page for each table: its figures, how to read them, definition and numbers.

What belongs here: the words around a figure. What does not: drawing, and the look of the page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mimprobe.figures import LABELS
from mimprobe.report.alikeness import models_alike
from mimprobe.report.estimates import INTERVAL, Estimate
from mimprobe.report.numbers import Numbers, kernel_medians, square_sides
from mimprobe.report.wording import amount, listed
from mimprobe.tables import Result

TITLES = {
    "attention_distance": "Attention distance",
    "attention_entropy": "Attention entropy",
    "head_kl": "KL between heads",
    "prefix_mass": "Attention on prefix tokens",
    "cka": "Similarity of layers (CKA)",
    "kernels": "Kernels of large convolutions",
    "receptive_field": "Effective receptive field",
}

READINGS = {
    "attention_distance": (
        "Each dot is a head: the distance, in pixels of the network's input, from a patch to the "
        "patches that it attends to, weighted by attention.",
        "Low dots are heads that look nearby; a tall column of dots is a layer whose heads look "
        "near and far at once, and a short one high up a layer whose heads all look far.",
    ),
    "attention_entropy": (
        "Each dot is a head: high where it spreads its attention evenly over the image, low where "
        "it picks few patches.",
        "The largest possible value is the logarithm of the number of keys, so models with "
        "different grids or windows compare by the normalised entropy.",
    ),
    "head_kl": (
        "Each dot is a head: its mean Kullback-Leibler divergence from the other heads of its "
        "layer.",
        "Near zero all heads of a layer look at the same places; high values mean that the heads "
        "look at different ones.",
    ),
    "prefix_mass": (
        "Each dot is a head: the share of the patches' attention that goes to class, distillation "
        "or register tokens instead of to patches.",
        "Where it is high, distance and entropy of that head describe only the little attention "
        "that is left for patches.",
    ),
    "cka": (
        "Each cell compares two layers on the same images: 1 where they hold the same information "
        "up to rotation and scale, 0 where they share none.",
        "A bright block is a run of layers that change the representation little; between two "
        "models, a bright diagonal means that they agree depth by depth.",
    ),
    "kernels": (
        "Each shape is the spread over a layer's channels, with a bar between the quartiles and a "
        "dot at the median: how far, in pixels of the network's input, a channel's kernel has its "
        "weight from its centre.",
        "It is attention distance for convolutions, and may be read beside it: low shapes are "
        "channels that look nearby, a tall shape is a layer whose channels look near and far.",
    ),
    "receptive_field": (
        "Each map shows how much every pixel of the input contributes to the middle of the feature "
        "map; the squares hold the shares of the whole contribution written at them.",
        "Brightness is logarithmic and its scale is shared: a small bright middle is a network "
        "that looks nearby, and wide squares one that gathers its features from far away.",
    ),
}  # fmt: skip
"""Two sentences on how to read the figures of a table."""

POLICIES = {
    "renormalise": "prefix tokens are left out and each row of attention is scaled back to one",
    "drop": "prefix tokens are left out and rows of attention are not rescaled",
    "keep": "prefix tokens count like patches",
}


def page_title(result: Result) -> str:
    """Name the page by its models, or count them if there are many."""
    models = [str(model["name"]) for model in result.manifest.get("models", [])]
    return str(listed(models).unescape()) if 0 < len(models) <= 3 else f"{len(models)} models"


def title_of(name: str) -> str:
    """Give a table's title; one without a title is called by its name."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def facts_of(name: str, result: Result) -> list[tuple[str, str]]:
    """List n, definition and choices of a table."""
    described = result.manifest.get("analyzers", {}).get(name, {})
    facts = [("Images", images_of(result[name]))]
    if "definition" in described:
        facts.append(("Definition", str(described["definition"])))
    if "prefix" in described:
        policy = str(described["prefix"])
        facts.append(("Prefix tokens", f"{policy}: {POLICIES.get(policy, 'see the manifest')}"))
    if "tokens" in described:
        tokens = {"mean": "mean of the patch tokens", "cls": "class token"}
        facts.append(("Pooling", tokens.get(described["tokens"], str(described["tokens"]))))
    if len(result[name]):
        facts.append(("Intervals", interval_of(result[name])))
    return facts


def images_of(table: pd.DataFrame) -> str:
    """Say how many images the values rest on."""
    counts = table["n"].dropna()
    if counts.empty or not counts.any():
        return "none"
    low, high = int(counts.min()), int(counts.max())
    return f"n = {high:,}" if low == high else f"n = {low:,} to {high:,}"


def interval_of(table: pd.DataFrame) -> str:
    """Say what the standard errors are, or why there are none."""
    notes = [note for note in table.get("note", pd.Series(dtype=str)).unique() if note]
    if notes:
        return "no standard errors: " + "; ".join(notes)
    if not table["se"].notna().any():
        return "no standard errors: they need at least two images"
    if "share" in table:
        return "of the squares: 1.96 standard errors by bootstrap over images"
    if "other_model" in table:
        return "standard errors by jackknife over groups of images, in the CSV file"
    return (
        "bands are the mean over images \N{PLUS-MINUS SIGN} 1.96 standard errors; with many images "
        "a band is narrower than its line"
    )


def numbers_of(name: str, table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give the numbers behind the figures: layer means by model, or mean CKA by pair of models."""
    if table.empty:
        return []
    if name == "kernels":
        return kernel_medians(table)
    if name == "receptive_field":
        return square_sides(table)
    if name == "cka":
        return [
            ("Mean CKA over pairs of layers; within a model, of different layers", _pairs(table))
        ]
    return [
        (f"Layer means: {LABELS.get(str(metric), str(metric))}", _layers(rows))
        for metric, rows in table.groupby("metric", sort=False)
        if "head" in rows
    ]


def _layers(rows: pd.DataFrame) -> Numbers:
    means = rows[rows["head"].isna()]
    models = list(dict.fromkeys(means["model"]))
    cells = {
        (str(row["model"]), int(row["layer"])): _cell(float(row["value"]), float(row["se"]))
        for row in means.to_dict("records")
    }
    layers = sorted({layer for _, layer in cells})
    unit = str(rows["unit"].iloc[0])
    return Numbers(
        ["layer" if unit == "1" else f"layer ({unit})", *models],
        [[str(at + 1), *(cells.get((model, at), "") for model in models)] for at in layers],
    )


def _cell(value: float, se: float) -> str:
    return amount(Estimate(value, INTERVAL * se), "")


def _pairs(table: pd.DataFrame) -> Numbers:
    models = list(dict.fromkeys(table["model"]))
    return Numbers(
        ["", *models],
        [[up, *(_alike(table, up, across) for across in models)] for up in models],
    )


def _alike(table: pd.DataFrame, up: str, across: str) -> str:
    found = models_alike(table, up, across)
    return "" if found is None else amount(found, "")


def remarks_of(name: str, result: Result) -> list[str]:
    """Say which models a table lacks, and why; and what windowed models add to it."""
    present = set(result[name]["model"])
    models: Sequence[Mapping[str, Any]] = result.manifest.get("models", [])
    if name == "kernels":
        plain = [str(m["name"]) for m in models if m["name"] not in present]
        return [f"No depth-wise convolutions: {', '.join(plain)}."] if plain else []
    if "head" not in result[name].columns:
        return []
    blind = [str(m["name"]) for m in models if not m.get("attention", True)]
    remarks = [f"No attention, and so not shown here: {', '.join(blind)}."] if blind else []
    if name == "prefix_mass":
        remarks += _prefix_remarks(result[name], [str(m["name"]) for m in models], blind)
    elif result[name].empty:
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
