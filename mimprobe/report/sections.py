"""One section of the page for each table: its figures, how to read them, definition and numbers.

What belongs here: the words around a figure. What does not: drawing, and the look of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mimprobe.claims.alikeness import models_alike
from mimprobe.claims.estimates import INTERVAL, within
from mimprobe.figures import LABELS
from mimprobe.report.wording import amount, listed
from mimprobe.tables import Result

TITLES = {
    "attention_distance": "Attention distance",
    "attention_offset": "What heads look at around the query",
    "attention_profile": "Attention by distance",
    "attention_entropy": "Attention entropy",
    "attention_nmi": "Dependence of attention on the query",
    "head_kl": "KL between heads",
    "head_pairs": "Pairs of heads",
    "prefix_mass": "Attention on prefix tokens",
    "cka": "Similarity of layers (CKA)",
    "mutual_neighbours": "Shared nearest neighbours",
    "effective_rank": "Effective rank",
    "token_similarity": "Similarity of patch tokens",
    "high_frequency": "High spatial frequencies",
    "feature_norm": "Norms and massive activations",
}

READINGS = {
    "attention_distance": (
        "Each dot is a head: the distance, in pixels of the network's input, from a patch to the "
        "patches that it attends to, weighted by attention.",
        "Low dots are heads that look nearby; a tall column of dots is a layer whose heads look "
        "near and far at once, and a short one high up a layer whose heads all look far.",
    ),
    "attention_offset": (
        "Each little map is a head: the query is in the middle, and a patch glows where it is "
        "given more attention than an even spread would give it, and is blue where it is given "
        "less.",
        "A bright spot around the ring is a head that looks nearby, a bright line one that follows "
        "rows or columns, a spot beside the ring one that looks one way; black all over is a head "
        "for which position plays no part.",
    ),
    "attention_profile": (
        "Each curve is a head: the share of its attention that falls at so many pixels from the "
        "query; the grey area is what an even spread over the image would give.",
        "A curve above the grey at small distances is a local head, and one on the grey pays no "
        "heed to distance; two heads of equal mean distance may have very different curves.",
    ),
    "attention_entropy": (
        "Each dot is a head: high where it spreads its attention evenly over the image, low where "
        "it picks few patches.",
        "The largest possible value is the logarithm of the number of keys, so models with "
        "different grids or windows compare by the normalised entropy.",
    ),
    "attention_nmi": (
        "Each dot is a head: the mutual information of the query's and the key's position, over "
        "the geometric mean of their entropies.",
        "At 0 the head looks at the same patches whatever the query, at 1 every query has a patch "
        "of its own; heads that all fall to 0 have collapsed into one global pattern.",
    ),
    "head_kl": (
        "Each dot is a head: its mean Kullback-Leibler divergence from the other heads of its "
        "layer.",
        "Near zero all heads of a layer look at the same places; high values mean that the heads "
        "look at different ones.",
    ),
    "head_pairs": (
        "Each cell compares two heads of a layer: dark where they look at the same patches of the "
        "same image, light where they look at different ones.",
        "Dark blocks are groups of heads that repeat each other, and a light row or column is a "
        "head of its own; the curve is the mean over the pairs of a layer.",
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
    "mutual_neighbours": (
        "Each cell compares two layers: the share of an image's nearest neighbours that both "
        "layers have in common, averaged over images.",
        "It looks only at which images lie close together, so two layers can agree here and differ "
        "in CKA, which far images dominate.",
    ),
    "effective_rank": (
        "How many directions the features of the images fill: about 1 where all images differ "
        "along one line, and at most the number of images or of features.",
        "The curves show the singular values behind it: a steep fall is a representation with few "
        "directions that count.",
    ),
    "token_similarity": (
        "The mean cosine similarity of two patches of one image: 1 where a layer gives every patch "
        "the same features, 0 where they point in unrelated directions.",
        "A line that climbs towards 1 is over-smoothing: the place of things in the image is lost.",
    ),
    "high_frequency": (
        "The amplitude of the highest spatial frequency over the patch grid, beside that of "
        "frequency zero, on a logarithmic scale: low where features vary slowly over the image.",
        "A falling line is a network whose layers blur, a rising one a network whose layers pick "
        "out detail; the curves show all frequencies between.",
    ),
    "feature_norm": (
        "The length of the patch tokens after each layer, and how far the largest activation of an "
        "image exceeds its median one.",
        "A ratio in the hundreds or thousands tells of massive activations: single values that act "
        "as constants and dominate any similarity that is not centred.",
    ),
}  # fmt: skip
"""Two sentences on how to read the figures of a table."""

POLICIES = {
    "renormalise": "prefix tokens are left out and each row of attention is scaled back to one",
    "drop": "prefix tokens are left out and rows of attention are not rescaled",
    "keep": "prefix tokens count like patches",
}


@dataclass(frozen=True)
class Numbers:
    """A small table of text: a header, and rows whose first cell is theirs."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


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
        tokens = {
            "mean": "mean of the patch tokens", "cls": "class token",
            "flattened": f"none: all patch tokens, in batches of {described.get('batch')} images",
        }  # fmt: skip
        facts.append(("Pooling", tokens.get(described["tokens"], str(described["tokens"]))))
    if "stage" in described:
        facts.append(
            ("Layers", f"of networks with stages, those of stage {described['stage'] + 1}")
        )
    if described.get("images_left_out"):
        facts.append(
            ("Left out", f"{described['images_left_out']} images, in a batch of fewer than 4")
        )
    if "chance" in described:
        facts.append(("By chance", f"{described['chance']:.2g} for k = {described['k']}"))
    if "memory" in described:
        facts.append(("Memory", str(described["memory"])))
    if len(result[name]):
        facts.append(("Intervals", interval_of(result[name])))
    return facts


def images_of(table: pd.DataFrame) -> str:
    """Say how many images the values rest on."""
    counts = table["n"].dropna()
    if counts.empty:
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
    if "row_offset" in table:
        return "standard errors over images, in the CSV file"
    jackknife = table["std"].isna().all()
    how = "by jackknife over groups of images" if jackknife else "over images"
    if "other_model" in table:
        return (
            f"standard errors {how}, in the CSV file; the widest 95 % interval of a cell is its "
            f"value {_widest(table)}"
        )
    if jackknife:
        return f"bands are the value \N{PLUS-MINUS SIGN} 1.96 standard errors {how}"
    return (
        "bands are the mean over images \N{PLUS-MINUS SIGN} 1.96 standard errors; with many images "
        "a band is narrower than its line; the widest interval of a dot is its value "
        f"{_widest(table)}"
    )


def _widest(table: pd.DataFrame) -> str:
    """Give half the length of the widest interval of the table's first metric, with its unit."""
    rows = table[table["metric"] == table["metric"].iloc[0]]
    unit = str(rows["unit"].iloc[0])
    reach = INTERVAL * float(rows["se"].max())
    return f"\N{PLUS-MINUS SIGN} {reach:.2g}" + ("" if unit == "1" else f" {unit}")


def numbers_of(name: str, table: pd.DataFrame) -> list[tuple[str, Numbers]]:
    """Give the numbers behind the figures: of layers by model, or their mean by pair of models."""
    if table.empty:
        return []
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
        ]
    if name == "attention_offset" or "head" not in table:
        return []
    singles = table[table["at"].isna()] if "at" in table else table
    return [
        (f"Layer means: {LABELS.get(str(metric), str(metric))}", _layers(rows))
        for metric, rows in singles.groupby("metric", sort=False)
    ]


def _ring(table: pd.DataFrame, ring: int) -> pd.DataFrame:
    """Keep one ring of every layer, counted from the query's own patch outwards."""
    places = table.groupby(["model", "layer"])["distance_low"].rank("dense") - 1
    return table[places == ring]


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
    return amount(within(value, INTERVAL * se), "")


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
    table = result[name]
    if "head" not in table or (len(table) and table["head"].isna().all()):
        return []
    present = set(result[name]["model"])
    models: Sequence[Mapping[str, Any]] = result.manifest.get("models", [])
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
