"""Which rows of a table a figure shows.

What belongs here: choosing models, metrics and rows, and saying plainly what is missing. What does
not: drawing.
"""

from collections.abc import Sequence

import pandas as pd

from mimprobe.errors import OptionError, UnknownNameError


def metric_rows(
    table: pd.DataFrame, metric: str, models: Sequence[str] | None = None, *, of: str = "head"
) -> pd.DataFrame:
    """Keep the rows of a metric and of the models asked for.

    Args:
        table: of a `Result`.
        metric: which of its metrics.
        models: which models; all by default.
        of: the column that only tables of the figure's kind have, `head` or `other_model`.

    Raises:
        OptionError: the table is empty, is of another kind, or no model is asked for.
        UnknownNameError: the table has no such metric or model.
    """
    needed = {"model", "kind", "layer", "metric", "unit", "value", "se", "n", of}
    absent = sorted(needed - set(table.columns))
    if absent:
        raise OptionError(
            f"the table lacks the columns {', '.join(absent)}; this figure takes a Result's table "
            "that has them"
        )
    if table.empty:
        raise OptionError(f"the table is empty: no model in it has a {metric}, nothing to draw")
    if metric not in set(table["metric"]):
        raise UnknownNameError("metric of this table", metric, table["metric"])
    rows = table[table["metric"] == metric]
    if models is None:
        return rows
    known = set(rows["model"])
    for model in models:
        if model not in known:
            raise UnknownNameError("model", model, known, hint=f"these have a {metric}")
    if not models:
        raise OptionError("models is empty; leave it out to draw all models")
    return rows[rows["model"].isin(models)]


def models_of(rows: pd.DataFrame, models: Sequence[str] | None) -> list[str]:
    """List the models to draw: in the order asked for, else in the table's."""
    return list(dict.fromkeys(rows["model"] if models is None else models))


def head_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of single heads."""
    return rows[rows["head"].notna()]


def layer_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows that hold the mean over a layer's heads, by layer."""
    return rows[rows["head"].isna()].sort_values("layer")


def depth_of(rows: pd.DataFrame, model: str) -> int:
    """Count a model's layers."""
    return int(rows.loc[rows["model"] == model, "layer"].max()) + 1


def chosen_layers(rows: pd.DataFrame, model: str, layers: Sequence[int] | None) -> list[int]:
    """Choose a model's layers, counted from 0: those asked for, else first, middle and last.

    Raises:
        OptionError: the model has no such layer, or none is asked for.
    """
    present = sorted(int(layer) for layer in rows.loc[rows["model"] == model, "layer"].unique())
    if layers is None:
        return sorted({present[0], present[(len(present) - 1) // 2], present[-1]})
    if not layers:
        raise OptionError("layers is empty; leave it out to draw the first, a middle and the last")
    for layer in layers:
        if layer not in present:
            raise OptionError(
                f"{model!r} has no layer {layer} in this table; layers count from 0, and it has "
                f"{present[0]} to {present[-1]}"
            )
    return list(layers)


def stage_starts(rows: pd.DataFrame) -> list[int]:
    """List the layers at which a new stage of a staged model begins, but for the first.

    Sites of staged models are called `stages.S.blocks.B...`; models without stages give none.
    """
    sites = rows.drop_duplicates("layer").sort_values("layer")
    stages = sites["site"].str.extract(r"^stages\.(\d+)\.", expand=False)
    changed = stages.notna() & (stages != stages.shift()) & stages.shift().notna()
    return [int(layer) for layer in sites.loc[changed, "layer"]]
