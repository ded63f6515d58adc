"""What one kind of change does to a network: drift and accuracy, for each seed and over all.

What belongs here: numbers of one point of a curve, pair, block or head, with their errors. What
does not: their features (`passes`) and the table (`rows`).

The value is the mean over seeds; errors of accuracies are those of `seeds`. Drift has a jackknife
over groups of images in the place of the first term, in which the mean over seeds is taken without
each group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mimprobe.experiments.layers.passes import VariantFeatures
from mimprobe.experiments.layers.variants import Variant
from mimprobe.experiments.seeds import mean_accuracy, seed_variance
from mimprobe.readout import Read, choices_told
from mimprobe.stream import CkaFeatures
from mimprobe.stream.grams import jackknife_error
from mimprobe.tables.layer_tests import DRIFT

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
    spread = seed_variance(values.tolist())
    whole_error = float((mean_error**2 + spread).sqrt())
    return [*outcomes, _drift(float(values.mean()), whole_error, found.images, found.note, None)]


def _drift(value: float, se: float, n: int, note: str, seed: int | None) -> Outcome:
    told = COLLAPSED if np.isnan(value) else note
    return Outcome(DRIFT, value, float("nan"), se, n, seed, told)


def accuracy(readout: str, reads: Mapping[int | None, Read]) -> list[Outcome]:
    """Share of images that are named rightly, by seed and over all; `note` has the choices."""
    sets = [(seed, [read]) for seed, read in reads.items() if seed is not None]
    return [_accuracy(readout, seed, own) for seed, own in [*sets, (None, list(reads.values()))]]


def _accuracy(readout: str, seed: int | None, reads: Sequence[Read]) -> Outcome:
    right = torch.stack([read.correct.cpu() for read in reads])
    return Outcome(
        f"{readout}_accuracy", *mean_accuracy(right), seed,
        choices_told(readout, [read.chosen for read in reads]),
        by_image=right.double().mean(0).numpy(),
    )  # fmt: skip
