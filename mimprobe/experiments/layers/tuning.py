"""The dearest read-out: changed networks that are fine-tuned before they are judged.

What belongs here: which points of the curve are fine-tuned, and with which seeds. What does not:
the training of one (`experiments.finetuned`).
"""

from collections.abc import Iterator, Mapping
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
from mimprobe.zoo.loaded import LoadedModel


@dataclass(frozen=True)
class Tuning:
    """How the points of a curve are fine-tuned.

    Attributes:
        test: its name, one of `TESTS`.
        train: images to train on.
        val: images to judge on.
        seeds: how often, with other classifiers, orders and augmentations, and other changes.
        changed: points of the curve besides the intact network, by their numbers of changed blocks;
            None for all.
        epochs: passes over `train`.
        settings: fields of `TrainConfig` that shall not be those of the recipe.
    """

    test: str
    train: ImageSet
    val: ImageSet
    seeds: int
    changed: tuple[int, ...] | None
    epochs: int
    settings: Mapping[str, Any]

    def of(self, model: LoadedModel) -> Iterator[Tested]:
        """Fine-tune one model at each point, from the same start for all seeds."""
        module = model.module
        variants = [intact(module), *TESTS[self.test](module, self.seeds)]
        chosen = [variant for variant in variants if self._takes(variant)]
        for group in by_point(chosen):
            with TemporaryDirectory(prefix="mimprobe-layers-") as folder:
                correct = {
                    seed: finetuned_correct(
                        model, variant.module, self.train, self.val, Path(folder) / str(seed),
                        seed=seed or 0, epochs=self.epochs, settings=self.settings,
                    )
                    for variant, seed in seeded(group, self.seeds)
                }  # fmt: skip
            yield Tested(model, group[0], accuracy(FINETUNE, correct))

    def _takes(self, variant: Variant) -> bool:
        return variant.on_curve and (self.changed is None or variant.changed in (0, *self.changed))
