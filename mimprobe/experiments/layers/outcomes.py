"""What one kind of change does to a network: drift and accuracy, for each seed and over all.

What belongs here: numbers of one point of a curve, pair, block or head, with their errors. What
does not: their features (`passes`) and the table (`rows`).

The value is the mean over seeds. With v_i the mean over seeds of whether image i is named rightly,
its variance is var(v) / n over n images plus, with more than one seed, the variance over seeds of
the seeds' accuracies divided by their number. Drift has a jackknife over groups of images in the
place of the first term, in which the mean over seeds is taken without each group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from mimprobe.experiments.layers.passes import VariantFeatures
from mimprobe.experiments.layers.variants import Variant
from mimprobe.stream import CkaFeatures
from mimprobe.stream.grams import jackknife_error

DRIFT = "drift"
"""CKA to the intact network: 1 where nothing changed up to rotation and scale."""

COLLAPSED = "the network gives all images the same features"
"""Why there is no drift where its value is empty."""


@dataclass(frozen=True)
class Outcome:
    """A number, its spread and its error; `seed` is None for the mean over seeds.

    `by_image` are the values behind it, where images have values of their own.
    """

    metric: str
    value: float
    std: float
    se: float
    n: int
    seed: int | None = None
    note: str = ""
    by_image: npt.NDArray[np.float64] | None = None


def drift(features: VariantFeatures, whole: Variant, variants: Sequence[Variant]) -> list[Outcome]:
    """CKA of the features of variants, one for each seed, with those of the intact network."""
    names = ("intact", *map(str, range(len(variants))))
    kept = CkaFeatures(names)
    own = [features[variant] for variant in (whole, *variants)]
    kept.add(range(len(own[0])), dict(zip(names, own, strict=True)))
    found = kept.cka()
    kept.close()
    values, left = found.value[0, 1:], found.without
    errors = found.se[0, 1:]
    mean_error = torch.tensor(float("nan"))
    if left is not None:
        mean_error = jackknife_error(left[:, :1, 1:].mean(2, keepdim=True))[0, 0]
    outcomes = [
        _drift(float(value), float(error), found.images, found.note, variant.seed)
        for variant, value, error in zip(variants, values, errors, strict=True)
        if variant.seed is not None
    ]
    spread = _seed_variance(values.tolist())
    whole_error = float((mean_error**2 + spread).sqrt())
    return [*outcomes, _drift(float(values.mean()), whole_error, found.images, found.note, None)]


def _drift(value: float, se: float, n: int, note: str, seed: int | None) -> Outcome:
    told = COLLAPSED if np.isnan(value) else note
    return Outcome(DRIFT, value, float("nan"), se, n, seed, told)


def accuracy(readout: str, correct: Mapping[int | None, Bool[Tensor, " image"]]) -> list[Outcome]:
    """Share of images that are named rightly, by seed and over all seeds."""
    metric = f"{readout}_accuracy"
    by_seed = {seed: right.double().cpu().numpy() for seed, right in correct.items()}
    single = [
        _mean(metric, right, 0.0, seed) for seed, right in by_seed.items() if seed is not None
    ]
    together = np.mean(list(by_seed.values()), axis=0)
    spread = _seed_variance([float(right.mean()) for right in by_seed.values()])
    return [*single, _mean(metric, together, spread, None)]


def _mean(metric: str, values: npt.NDArray[np.float64], spread: float, seed: int | None) -> Outcome:
    """Average over images; `spread` is the variance that seeds add."""
    n = len(values)
    std = float(values.std(ddof=1)) if n > 1 else float("nan")
    se = float(np.sqrt(std**2 / n + spread))
    return Outcome(metric, float(values.mean()), std, se, n, seed, by_image=values)


def _seed_variance(values: Sequence[float]) -> float:
    """Variance of a mean over seeds, as far as the seeds tell; 0 for a single one."""
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
