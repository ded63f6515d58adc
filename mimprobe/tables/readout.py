"""The table `readout`: which of its rows is the best of each model and read-out.

What belongs here: that choice. What does not: measuring, and words.
"""

import pandas as pd

CHANCE = "chance_accuracy"
"""Metric of the rows that say what the commonest class alone would give."""


def best_readouts(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the row of largest value of each model and read-out; of equal ones the earliest layer.

    It was the best of many on the same images, so its value is somewhat too high.
    """
    rows = table[table["metric"] != CHANCE].sort_values("layer", kind="stable")
    best = rows.loc[rows.groupby(["model", "metric"], sort=False)["value"].idxmax()]
    order = {metric: place for place, metric in enumerate(table["metric"].unique())}
    models = {model: place for place, model in enumerate(table["model"].unique())}
    places = best["metric"].map(order) + len(order) * best["model"].map(models)
    return best.assign(place=places).sort_values("place").drop(columns="place")
