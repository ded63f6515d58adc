"""A table of read-outs with numbers made up to look like real ones, and its result."""

import numpy as np
import pandas as pd

from mimprobe.tables import READOUT_COLUMNS, Result, join_per_image

CHANCE = 0.025
PLACES = (("knn", "mean"), ("knn", "cls"), ("linear", "mean"), ("linear", "cls"))


def readout_table(depths=(("a", "mim", 4), ("b", "supervised", 4)), places=PLACES, seed=0):
    """The first model is best at its third layer, the others at their last."""
    draw = np.random.default_rng(seed)
    rows = []
    for place, (model, kind, depth) in enumerate(depths):
        for layer in range(depth):
            for name, pooling in (*places, ("chance", "mean"), ("chance", "cls")):
                height = 0.2 + 0.5 * layer / depth + draw.uniform(0, 0.05)
                if place == 0 and layer > 2:
                    height -= 0.3
                value = CHANCE if name == "chance" else height
                rows.append(
                    (model, kind, f"blocks.{layer}.out", layer, pooling, f"{name}_accuracy", "1",
                     value, 0.4, 0.01, 1600, "C = 0.1, 1" if name == "linear" else "")
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(READOUT_COLUMNS))


def readout_result():
    table = readout_table()
    models = [{"name": name, "kind": kind} for name, kind in (("a", "mim"), ("b", "supervised"))]
    described = {"definition": "share of", "training_images": 2000, "classes": ["x", "y"],
                 "seeds": 3}  # fmt: skip
    manifest = {"models": models, "analyzers": {"readout": described}}
    return Result({"readout": table}, manifest, join_per_image([]))
