"""What networks lose when blocks change places or are left out, by image and by seed.

What belongs here: losses of accuracy from the tables and per-image values of layer tests. What does
not: which points of a curve a claim looks at (one file for each claim), and words.

A loss is accuracy of the intact network less that of the changed one, in shares of 1.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mimprobe.claims.estimates import Estimate, ImageVector, with_seeds
from mimprobe.claims.intervals import LEAST_IMAGES
from mimprobe.tables import PerImageValues
from mimprobe.tables.layer_tests import curve_rows, intact_rows, over_seeds

READOUTS = {
    "finetune_accuracy": "after fine-tuning",
    "linear_accuracy": "of a linear probe",
    "knn_accuracy": "of k-nearest neighbours",
}
"""Metrics of accuracy, the dearest read-out first, and whose accuracy it is."""

Chosen = Callable[[int], bool]
"""Which points of a curve, by the number of blocks changed."""


@dataclass(frozen=True)
class Loss:
    """A model's loss, averaged over some points of its curve.

    Attributes:
        intact: accuracy of the intact network.
        images: by image, means over seeds; NaN where an image has none.
        seeds: by seed, means over images; empty where the table has no seeds.
    """

    intact: Estimate
    images: ImageVector
    seeds: ImageVector

    def lacks(self, chance: float | None) -> str:
        """Say why nothing follows from the loss of a network that knows no more than chance.

        Where seeds differ much, some may be above chance and the network still not be.
        """
        if chance is None or self.intact.n < LEAST_IMAGES or self.intact.low > chance:
            return ""  # on few images no verdict is given anyway
        return (
            f"has an intact accuracy of {self.intact.value:.3f} ({self.intact.low:.3f} to "
            f"{self.intact.high:.3f}), not above chance ({chance:.3f}): it has nothing to lose"
        )

    def estimated(self) -> tuple[Estimate, float]:
        """Give the mean over images and seeds with its 95 % interval, and its standard error."""
        return with_seeds(self.images, self.seeds)

    def less(self, other: "Loss") -> tuple[Estimate, float]:
        """Subtract another model's, image by image; the variances of both models' seeds add up."""
        return with_seeds(self.images - other.images, self.seeds, other.seeds)


def dearest_readout(
    values: PerImageValues, test: str, models: Iterable[str], enough: Callable[[set[int]], bool]
) -> str | None:
    """Name the dearest read-out that all these models have at enough points; None without.

    Args:
        values: of a result.
        test: `swap`, `drop` or `reset`.
        models: which.
        enough: told the numbers of blocks changed at which a model was read out, 0 among them.
    """
    names = list(models)
    for metric in READOUTS:
        points = [_read_out_at(values, test, model, metric) for model in names]
        if all(0 in own and enough(own) for own in points):
            return metric
    return None


def _read_out_at(values: PerImageValues, test: str, model: str, metric: str) -> set[int]:
    own = values.select(site=test, model=model, metric=metric).columns["layer"]
    return {int(changed) for changed in own}


def points_of(values: PerImageValues, test: str, model: str, metric: str) -> list[int]:
    """List the points of a model's curve, by the number of blocks changed; 0 is not among them."""
    return sorted(_read_out_at(values, test, model, metric) - {0})


def some_points(
    table: pd.DataFrame, values: PerImageValues, models: Iterable[str], metric: str
) -> list[int]:
    """List the points with a read-out, where curves of the table have others without; else none.

    Fine-tuning is dear, and seldom of a whole curve.
    """
    test, found = str(next(iter(table["test"]), "")), set[int]()
    for model in models:
        curve = curve_rows(table[table["model"] == model])["changed"]
        points = points_of(values, test, model, metric)
        if {int(changed) for changed in curve} - {0, *points}:
            found.update(points)
    return sorted(found)


def mean_loss(
    table: pd.DataFrame, values: PerImageValues, model: str, metric: str, chosen: Chosen
) -> Loss | None:
    """Average a model's loss over points of its curve.

    l = intact - (1 / K) sum_k changed_k, by image from the per-image values and by seed from the
    table; an intact network that has no seeds stands for all of them.

    Args:
        table: of one layer test.
        values: of the result; images without a value at one of the points have no loss.
        model: which.
        metric: one of `READOUTS`.
        chosen: which points, by the number of blocks changed.

    Returns:
        The loss; None without an intact network or such points.
    """
    test = str(next(iter(table["test"]), ""))
    own = values.select(site=test, model=model, metric=metric)
    columns = {int(changed): own.values[:, at] for at, changed in enumerate(own.columns["layer"])}
    points = [changed for changed in columns if changed and chosen(changed)]
    if 0 not in columns or not points:
        return None
    changed = np.mean([columns[point] for point in points], axis=0, dtype=np.float64)
    intact = columns[0].astype(np.float64)
    known = with_seeds(intact, _intact_by_seed(table, model, metric))[0]
    return Loss(known, intact - changed, _by_seed(table, model, metric, points))


def intact_accuracy(
    table: pd.DataFrame, values: PerImageValues, model: str, metric: str
) -> Estimate | None:
    """Give the accuracy of the intact network, with the variance between seeds; None without."""
    test = str(next(iter(table["test"]), ""))
    own = values.select(site=test, model=model, metric=metric, layer=0).values
    if not own.shape[1]:
        return None
    return with_seeds(own[:, 0].astype(np.float64), _intact_by_seed(table, model, metric))[0]


def not_at_the_end(metric: str, layer: int | None) -> str:
    """Say why features read behind an inner layer tell nothing of the whole network; or nothing.

    Fine-tuned networks are always read at their end.
    """
    if layer is None or metric == "finetune_accuracy":
        return ""
    return f"was read out behind layer {layer + 1} and not at its end, so a claim is not about this"


def _intact_by_seed(table: pd.DataFrame, model: str, metric: str) -> ImageVector:
    rows = curve_rows(table[(table["model"] == model) & (table["metric"] == metric)])
    seeded = intact_rows(rows[rows["seed"].notna()])
    return seeded["value"].to_numpy(dtype=np.float64)


def _by_seed(table: pd.DataFrame, model: str, metric: str, points: list[int]) -> ImageVector:
    rows = curve_rows(table[(table["model"] == model) & (table["metric"] == metric)])
    intact = _means(intact_rows(rows))
    changed = _means(rows[rows["changed"].isin(points) & rows["seed"].notna()])
    without = over_seeds(intact_rows(rows))["value"].mean()
    return np.array([intact.get(seed, without) - value for seed, value in changed.items()])


def _means(rows: pd.DataFrame) -> dict[object, float]:
    """Average over the rows of each seed."""
    return {seed: float(own["value"].mean()) for seed, own in rows.groupby("seed")}
