"""What is said of each table beside its figures: its images, definition, choices and intervals.

What belongs here: facts of one result, as text. What does not: titles and how to read figures
(`readings`), the numbers behind them (`numbers`), and what tables lack (`remarks`).
"""

import pandas as pd

from mimprobe.claims.estimates import INTERVAL
from mimprobe.figures import LABELS
from mimprobe.report.layer_tests import layer_facts, tested
from mimprobe.report.plates import NOTHING
from mimprobe.report.wording import counted, listed
from mimprobe.tables import LAYER_TESTS, STEP, Result

POLICIES = {
    "renormalise": "prefix tokens are left out and each row of attention is scaled back to one",
    "drop": "prefix tokens are left out and rows of attention are not rescaled",
    "keep": "prefix tokens count like patches",
}


def page_title(result: Result) -> str:
    """Name the page by its models, or count them if there are many."""
    models = [str(model["name"]) for model in result.manifest.get("models", [])]
    title = str(listed(models).unescape()) if 0 < len(models) <= 3 else f"{len(models)} models"
    if any(STEP in table for table in result.values()):
        return f"{title} during training"
    if set(result) & set(LAYER_TESTS):
        return f"{title}: {tested(result)}"
    return f"{title}: classes read out" if set(result) == {"readout"} else title


def facts_of(name: str, result: Result) -> list[tuple[str, str]]:
    """List n, definition and choices of a table."""
    described = result.manifest.get("analyzers", {}).get(name, {})
    if name in LAYER_TESTS:
        return layer_facts(result[name], described)
    facts = [("Images", images_of(result[name]))]
    if "definition" in described:
        facts.append(("Definition", str(described["definition"])))
    if "prefix" in described and name != "prefix_mass":
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
    if "training_images" in described:
        facts.append(
            (
                "Learned from",
                f"n = {described['training_images']:,} images of {len(described['classes'])} "
                f"classes; {counted(described['seeds'], 'seed')}",
            )
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
    if counts.empty or not counts.any():
        return "none"
    low, high = int(counts.min()), int(counts.max())
    return f"n = {high:,}" if low == high else f"n = {low:,} to {high:,}"


def interval_of(table: pd.DataFrame) -> str:
    """Say what the standard errors are, or why there are none."""
    if "pooling" in table and "test" not in table:
        return "bands are the mean \N{PLUS-MINUS SIGN} 1.96 standard errors over images and seeds"
    notes = [note for note in table.get("note", pd.Series(dtype=str)).unique() if note]
    if notes:
        return "no standard errors: " + "; ".join(notes)
    if not table["se"].notna().any():
        return "no standard errors: they need at least two images"
    if "row_offset" in table:
        return "standard errors over images, in the CSV file"
    jackknife = table["std"].isna().all()
    how = "by jackknife over groups of images" if jackknife else "over images"
    if "share" in table:
        return "of the squares: 1.96 standard errors by bootstrap over images"
    if {"other_model", "other_head", "distance_low"} & set(table.columns):
        return f"standard errors {how}, in the CSV file{_widest(table)}"
    if jackknife:
        return f"bands are the value \N{PLUS-MINUS SIGN} 1.96 standard errors {how}"
    if STEP in table:
        return "bands are the mean over images \N{PLUS-MINUS SIGN} 1.96 standard errors"
    return (
        "bands are the mean over images \N{PLUS-MINUS SIGN} 1.96 standard errors; with many images "
        f"a band is narrower than its line{_widest(table)}"
    )


def _widest(table: pd.DataFrame) -> str:
    """Give half the length of the widest interval of each metric worth a figure, with its unit."""
    told = [
        f"{LABELS.get(str(metric), str(metric))} {_reach(rows)}"
        for metric, rows in table.groupby("metric", sort=False)
        if rows["se"].notna().any() and not _is_negligible(str(metric), rows)
    ]
    dots = "head" in table and table["head"].notna().any() and "other_head" not in table
    of = " of a dot" if dots and "distance_low" not in table else ""
    return f"; the widest 95 % interval{of}: {', '.join(told)}" if told else ""


def _reach(rows: pd.DataFrame) -> str:
    unit = str(rows["unit"].iloc[0])
    reach = INTERVAL * float(rows["se"].max())
    return f"\N{PLUS-MINUS SIGN} {reach:.2g}" + ("" if unit == "1" else f" {unit}")


def _is_negligible(metric: str, rows: pd.DataFrame) -> bool:
    """Say whether windows add so little mass that no figure shows it."""
    return metric in ("padding_mass", "masked_mass") and not (rows["value"] > NOTHING).any()
