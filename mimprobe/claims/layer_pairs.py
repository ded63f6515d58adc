"""How far any two models are apart in what layer tests cost them: a table of paired differences.

What belongs here: differences at each point of the curves. What does not: differences of layer
means (`paired`), and which of them matter (one file for each claim).
"""

from functools import partial
from itertools import combinations
from operator import eq

import pandas as pd

from mimprobe.claims.losses import READOUTS, Loss, mean_loss, points_of
from mimprobe.tables import LAYER_TESTS, Result

LAYER_DIFFERENCE_COLUMNS = (
    "test", "metric", "changed", "model", "other_model", "value", "se", "low", "high", "n",
)  # fmt: skip
"""`value` is the accuracy that the first model lost less that which the other lost."""


def layer_test_differences(result: Result) -> pd.DataFrame:
    """Subtract the losses of models from each other, image by image, at each point of the curves.

    d_i = (intact_i - changed_i of `model`) - (intact_i - changed_i of `other_model`), by image i,
    each a mean over seeds. The value is mean(d), in shares of 1; its standard error has the
    variance over images and those between each model's seeds (`with_seeds`).

    Args:
        result: measured, or read back.

    Returns:
        A row for each layer test, read-out, pair of models in the result's order, and number of
        blocks changed that both have.
    """
    rows: list[tuple[object, ...]] = []
    for name in LAYER_TESTS:
        for metric in READOUTS if name in result else ():
            losses = _losses(result, name, metric)
            for one, other in combinations(losses, 2):
                for changed in sorted(set(losses[one]) & set(losses[other])):
                    found, se = losses[one][changed].less(losses[other][changed])
                    rows.append(
                        (name.removeprefix("layer_"), metric, changed, one, other, found.value, se,
                         found.low, found.high, found.n)
                    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(LAYER_DIFFERENCE_COLUMNS))


def _losses(result: Result, name: str, metric: str) -> dict[str, dict[int, Loss]]:
    """Give each model's loss by the number of blocks changed."""
    table, values, test = result[name], result.per_image, name.removeprefix("layer_")
    models = [str(model["name"]) for model in result.manifest.get("models", [])]
    return {
        model: {
            point: loss
            for point in points_of(values, test, model, metric)
            if (loss := mean_loss(table, values, model, metric, partial(eq, point))) is not None
        }
        for model in models
    }
