"""What became of the read-outs, as a table, values by image, and a record.

What belongs here: means and errors, columns, and the words that define them. What does not: the
measurement (`readouts`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mimprobe.experiments.model_readouts import Outcome
from mimprobe.experiments.seeds import mean_accuracy
from mimprobe.models.sites import Layout
from mimprobe.readout.linear import HELD_OUT, PENALTIES
from mimprobe.readout.neighbours import NEIGHBOURS, TEMPERATURE
from mimprobe.tables import PER_IMAGE_KEYS, READOUT_COLUMNS, PerImageValues

DEFINITIONS = {
    "knn": f"{NEIGHBOURS} nearest neighbours by cosine similarity s, which vote with weight "
    f"exp(s / {TEMPERATURE})",
    "linear": "multinomial logistic regression on standardised features, L-BFGS, with the penalty "
    f"p of {', '.join(f'{value:g}' for value in PENALTIES)} (scikit-learn's C = 1 / (p n)) that "
    f"does best on {HELD_OUT:.0%} of each class held out, fitted again on all",
    "attentive": "one learned query that attends to all patch tokens, and a linear classifier of "
    "the average; AdamW from the linear probe of the mean token, with as many steps as do best on "
    f"{HELD_OUT:.0%} of each class held out",
}


def table_of(
    outcomes: Sequence[Outcome], places: Mapping[str, Layout], kinds: Mapping[str, str]
) -> pd.DataFrame:
    """Give the table `readout`, of columns `tables.READOUT_COLUMNS`; errors as in `seeds`."""
    rows = [
        {
            "model": one.model, "kind": kinds[one.model], "site": one.site,
            "layer": places[one.model][one.site].layer, "pooling": one.pooling,
            "metric": f"{one.readout}_accuracy", "unit": "1", "note": one.note,
            **mean_accuracy(one.correct)._asdict(),
        }
        for one in outcomes
    ]  # fmt: skip
    return pd.DataFrame(rows)[list(READOUT_COLUMNS)]


def per_image(
    outcomes: Sequence[Outcome], places: Mapping[str, Layout], images: Sequence[str]
) -> PerImageValues:
    """Give the mean over seeds of every image; the metric names read-out and pooling."""
    keys = [
        (one.model, one.site, places[one.model][one.site].layer, -1,
         f"{one.readout}_accuracy_{one.pooling}")
        for one in outcomes
    ]  # fmt: skip
    values = np.stack([one.correct.float().mean(0).numpy() for one in outcomes], axis=1)
    return PerImageValues(tuple(images), pd.DataFrame(keys, columns=list(PER_IMAGE_KEYS)), values)


def describe(
    readouts: Sequence[str], seeds: int, images: int, classes: Sequence[str]
) -> dict[str, Any]:
    """Definition, units and sizes, for the manifest."""
    told = "; ".join(f"{name}: {DEFINITIONS[name]}" for name in readouts)
    return {
        "definition": "share of the validation images whose class is read out rightly of the "
        f"frozen features that a layer hands on, before any final norm. {told}. Chance is always "
        "naming the class that is commonest in training.",
        "units": {f"{name}_accuracy": "1" for name in (*readouts, "chance")},
        "seeds": seeds, "training_images": images, "classes": list(classes),
        "neighbours": NEIGHBOURS, "temperature": TEMPERATURE, "penalties": list(PENALTIES),
    }  # fmt: skip
