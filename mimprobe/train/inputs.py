"""The images of a run with their class numbers: opened, checked, and decoded where they fit.

What belongs here: everything that can be wrong with images before the first step. What does not:
batches (`feed`).
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError
from mimprobe.train.config import TrainConfig
from mimprobe.train.labels import training_labels, validation_labels
from mimprobe.train.memory import prepared


@dataclass(frozen=True)
class Inputs:
    """What a run sees.

    Attributes:
        images: of training.
        labels: their class numbers; 0 where the objective takes none.
        classes: the names of the classes; empty where there are none.
        val: images that are classified after every epoch.
        val_labels: their class numbers.
        skipped: name and reason of each image of training that was left out.
    """

    images: ImageSet
    labels: Sequence[int]
    classes: Sequence[str]
    val: ImageSet | None
    val_labels: Sequence[int]
    skipped: Sequence[dict[str, Any]]

    def describe(self) -> dict[str, Any]:
        """Give what tells the images from others, ready for JSON."""
        return {
            "sha256": self.images.sha256,
            "images": len(self.images),
            "classes": list(self.classes),
            "skipped": list(self.skipped),
            "val_sha256": None if self.val is None else self.val.sha256,
        }


def inputs_of(images: str | os.PathLike[str] | ImageSet, config: TrainConfig) -> Inputs:
    """Open what a run sees; names and numbers are checked before anything is decoded.

    Raises:
        ImageError: fewer images than a batch; labels that are missing, of one class, or differ
            between the two sets; a damaged image where images are decoded beforehand.
        OptionError: the cache is `on` and the images do not fit.
    """
    opened = open_images(images, skip_bad_images=config.skip_bad_images)
    _check_count(opened, config)
    classes, labels = _labels(opened, config)
    val, val_labels = None, list[int]()
    if config.val:
        val = open_images(config.val, skip_bad_images=config.skip_bad_images)
        val_labels = validation_labels(val, classes)
    kept, skipped = _prepared(opened, config)
    if skipped:
        _check_count(kept, config)
        classes, labels = _labels(kept, config)
    if val is not None:
        val, left_out = _prepared(val, config)
        val_labels = validation_labels(val, classes) if left_out or skipped else val_labels
    return Inputs(kept, labels, classes, val, val_labels, skipped)


def _labels(images: ImageSet, config: TrainConfig) -> tuple[list[str], list[int]]:
    if config.objective == "simmim":
        return sorted(set(images.labels or ())), [0] * len(images)
    return training_labels(images)


def _check_count(images: ImageSet, config: TrainConfig) -> None:
    if len(images) < config.batch_size:
        raise ImageError(
            f"{images.source} has {len(images)} images, fewer than one batch of "
            f"{config.batch_size}; choose a smaller batch_size"
        )


def _prepared(images: ImageSet, config: TrainConfig) -> tuple[ImageSet, list[dict[str, Any]]]:
    kept, skipped = prepared(images, cache=config.cache, megabytes=config.cache_memory)
    if skipped:
        warnings.warn(
            f"{images.source}: left out {len(skipped)} of {len(images)} images, such as "
            f"{skipped[0]['reason']}",
            stacklevel=3,
        )
    return kept, skipped
