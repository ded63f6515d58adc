"""One model through one test: its variants, their features, and every read-out of each.

What belongs here: which variant goes through which read-out. What does not: several models and the
manifest (`run`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mimprobe.data.images import ImageSet
from mimprobe.experiments.layers.checks import EVERYWHERE
from mimprobe.experiments.layers.outcomes import accuracy, drift
from mimprobe.experiments.layers.passes import VariantFeatures, variant_features
from mimprobe.experiments.layers.rows import Tested
from mimprobe.experiments.layers.variants import TESTS, Variant, intact
from mimprobe.models.device import placed
from mimprobe.models.surgery import depth
from mimprobe.progress import Progress
from mimprobe.readout import READOUTS, SEEDLESS, Read, require_enough
from mimprobe.readout.labels import labels_of
from mimprobe.zoo.loaded import LoadedModel


@dataclass(frozen=True)
class Judge:
    """How every model of a test is read out.

    Attributes:
        test: its name, one of `TESTS`.
        train: images that the read-outs learn from.
        val: images that they are judged on, and that drift is taken on.
        readouts: frozen read-outs, by name.
        seeds: of whatever is drawn.
        layer: block that is read out; None for the last one.
        pooling: of its tokens.
        batch_size: images for each pass.
        device: where the networks run.
        budget_bytes: memory for features, beyond which they are kept on disk.
    """

    test: str
    train: ImageSet
    val: ImageSet
    readouts: tuple[str, ...]
    seeds: range
    layer: int | None
    pooling: str
    batch_size: int
    device: torch.device
    budget_bytes: int

    def of(self, model: LoadedModel) -> list[Tested]:
        """Put one model through the test; it is left as it was."""
        with placed(model.module, self.device):
            whole = intact(model.module)
            points = self._points(model, whole)
            variants = [variant for group in points for variant in group]
            learnt_from = [variant for variant in variants if self._readouts_of(variant)]
            asked = self._features(model, variants, self.val, "validation")
            known = asked  # unless anything is learnt: drift needs no training images
            if learnt_from:
                known = self._features(model, learnt_from, self.train, "training")
        if self.readouts:
            require_enough(self.readouts, self.answers()[0])  # some may have been skipped
        tested = []
        title = f"{self.test} of {model.name}: read-outs"
        with Progress(title, len(points), unit="points") as bar:
            for group in points:
                outcomes = drift(asked, whole, group)
                for readout in self._readouts_of(group[0]):
                    outcomes += accuracy(readout, self._correct(readout, group, known, asked))
                tested.append(Tested(model, group[0].point, outcomes))
                bar.advance(1)
        return tested

    def _points(self, model: LoadedModel, whole: Variant) -> list[list[Variant]]:
        """List the points of the test, but those that change nothing before the layer read out."""
        last = depth(model.module) if self.layer is None else self.layer + 1
        points = by_point(TESTS[self.test](model.module, self.seeds))
        return [[whole], *(own for own in points if any(one.first < last for one in own))]

    def answers(self) -> tuple[Int[Tensor, " image"], Int[Tensor, " query"]]:
        """Give the class numbers of both sets, without images that were skipped by now."""
        labels, truth, _ = labels_of(self.train, self.val)
        return labels, truth

    def _features(
        self, model: LoadedModel, variants: Sequence[Variant], images: ImageSet, what: str
    ) -> VariantFeatures:
        return variant_features(
            model, variants, images,
            layer=self.layer, pooling=self.pooling, batch_size=self.batch_size, device=self.device,
            budget_bytes=self.budget_bytes, title=f"{self.test} of {model.name}: {what} images",
        )  # fmt: skip

    def _readouts_of(self, variant: Variant) -> tuple[str, ...]:
        return tuple(name for name in self.readouts if variant.point.on_curve or name in EVERYWHERE)

    def _correct(
        self, readout: str, group: Sequence[Variant], known: VariantFeatures, asked: VariantFeatures
    ) -> dict[int | None, Read]:
        """Tell for each seed which validation images are named rightly."""
        labels, truth = self.answers()
        found = {}
        for variant, seed in seeded(group, None if readout in SEEDLESS else self.seeds):
            right = READOUTS[readout](known[variant], labels, asked[variant], truth, seed=seed or 0)
            found[seed] = right
        return found


def seeded(group: Sequence[Variant], seeds: range | None) -> list[tuple[Variant, int | None]]:
    """Pair variants with their seeds; one without is shown once for each seed of the read-out.

    Where nothing at all is drawn, the only seed is None.
    """
    if group[0].seed is not None:
        return [(variant, variant.seed) for variant in group]
    return [(group[0], seed) for seed in seeds or [None]]


def by_point(variants: Iterable[Variant]) -> list[list[Variant]]:
    """Put the seeds of each point together, points in the order of their first variants."""
    points: dict[object, list[Variant]] = {}
    for variant in variants:
        points.setdefault(variant.point, []).append(variant)
    return list(points.values())
