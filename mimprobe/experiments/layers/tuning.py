"""The dearest read-out: changed networks that are fine-tuned before they are judged.

What belongs here: which points of the curve are fine-tuned, and with which seeds. What does not:
the training of one (`experiments.finetuned`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mimprobe.data.images import ImageSet
from mimprobe.experiments.finetuned import finetuned_correct
from mimprobe.experiments.layers.checks import FINETUNE
from mimprobe.experiments.layers.judge import by_point, seeded
from mimprobe.experiments.layers.outcomes import accuracy
from mimprobe.experiments.layers.rows import Tested
from mimprobe.experiments.layers.variants import TESTS, Variant, intact
from mimprobe.readout import Read
from mimprobe.zoo.loaded import LoadedModel


@dataclass(frozen=True)
class Tuning:
    """How the points of a curve are fine-tuned.

    Attributes:
        test: its name, one of `TESTS`.
        train: images to train on.
        val: images to judge on.
        seeds: of classifiers, orders and augmentations, and of changes.
        changed: points of the curve besides the intact network, by their numbers of changed blocks;
            None for all.
        epochs: passes over `train`.
        settings: fields of `TrainConfig` that shall not be those of the recipe.
    """

    test: str
    train: ImageSet
    val: ImageSet
    seeds: range
    changed: tuple[int, ...] | None
    epochs: int
    settings: Mapping[str, Any]

    def points(self, model: LoadedModel) -> list[list[Variant]]:
        """List the variants that are fine-tuned, those of one point together."""
        module = model.module
        variants = [intact(module), *TESTS[self.test](module, self.seeds)]
        return by_point(variant for variant in variants if self._takes(variant))

    def of(self, model: LoadedModel, group: Sequence[Variant]) -> Tested:
        """Fine-tune the variants of a point, once for each seed."""
        with TemporaryDirectory(prefix="mimprobe-layers-") as folder:
            correct = {
                seed: Read(finetuned_correct(
                    model, variant.module, self.train, self.val, Path(folder) / str(seed),
                    seed=seed or 0, epochs=self.epochs, settings=self.settings,
                ))
                for variant, seed in seeded(group, self.seeds)
            }  # fmt: skip
        return Tested(model, group[0].point, accuracy(FINETUNE, correct))

    def _takes(self, variant: Variant) -> bool:
        asked = self.changed is None or variant.changed in (0, *self.changed)
        return asked and variant.point.on_curve
