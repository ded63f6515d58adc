"""Class numbers of the images of a run.

What belongs here: from class names to numbers, and what is wrong with them. What does not: where
names come from (`data`).
"""

import warnings
from collections.abc import Sequence
from difflib import get_close_matches

from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError

SHOWN = 4
"""Classes named in a message before it goes on with a count."""


def training_labels(images: ImageSet) -> tuple[list[str], list[int]]:
    """Give the class names in order and each image's class number.

    Raises:
        ImageError: there are no labels, or of one class only.
    """
    names = _names(images)
    classes = sorted(set(names))
    if len(classes) < 2:
        raise ImageError(
            f"{images.source} has images of one class only ({classes[0]}); a classifier needs two"
        )
    return classes, _numbers(names, classes)


def validation_labels(images: ImageSet, classes: Sequence[str]) -> list[int]:
    """Give the class number of each image among the classes of training.

    Warns of classes without an image: the accuracy is then one of fewer classes.

    Raises:
        ImageError: there are no labels, or some that training does not know.
    """
    names = _names(images)
    unknown = sorted(set(names) - set(classes))
    if unknown:
        near = get_close_matches(unknown[0], classes, n=1)
        hint = f"did you mean {near[0]}?" if near else f"those of training are {_some(classes)}"
        raise ImageError(
            f"{images.source} has classes that the training images lack: {_some(unknown)}; {hint}"
        )
    absent = sorted(set(classes) - set(names))
    if absent:
        warnings.warn(
            f"{images.source} has no images of {len(absent)} of the {len(classes)} classes: "
            f"{_some(absent)}; its accuracy is that of the others",
            stacklevel=2,
        )
    return _numbers(names, classes)


def _names(images: ImageSet) -> Sequence[str]:
    if images.labels is None:
        raise ImageError(
            f"{images.source} has no class folders, and no labels for all of its images; "
            "training a classifier needs the layout <class>/<image>, .cls files in the shards, or "
            "a data set's column of labels"
        )
    return images.labels


def _numbers(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    number = {name: index for index, name in enumerate(classes)}
    return [number[name] for name in names]


def _some(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
