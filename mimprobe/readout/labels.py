"""Class numbers of the images that a read-out learns from and is judged on.

What belongs here: from class names to numbers, and what is wrong with them. What does not: where
names come from (`data`), and labels of training runs (`train.labels`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError

SHOWN = 4
"""Classes named in a message before it goes on with a count."""


def labels_of(
    train: ImageSet, val: ImageSet
) -> tuple[Int[Tensor, " image"], Int[Tensor, " query"], tuple[str, ...]]:
    """Give the class number of each image of both sets, and the classes in order.

    Images that were skipped by now are left out, as `layer_features` leaves them out: check the
    labels with this before a long pass, and take them from it after.

    Raises:
        ImageError: there are no labels, of one class only, or the two sets have different classes.
    """
    known, asked = _names(train), _names(val)
    classes = tuple(sorted(set(known)))
    if len(classes) < 2:
        raise ImageError(
            f"{train.source} has images of one class only ({classes[0]}); a read-out needs two"
        )
    _require_same(known, train, asked, val)
    _require_same(asked, val, known, train)
    numbers = {name: number for number, name in enumerate(classes)}
    labels, truth = (
        torch.tensor(
            [numbers[name] for number, name in enumerate(names) if number not in images.skipped],
            dtype=torch.long,
        )
        for names, images in ((known, train), (asked, val))
    )
    return labels, truth, classes


def guessed_correct(
    labels: Int[Tensor, " image"], truth: Int[Tensor, " query"]
) -> Bool[Tensor, " query"]:
    """Tell what is right if the class that is commonest in training is always named: chance."""
    return truth == labels.bincount().argmax()


def _names(images: ImageSet) -> Sequence[str]:
    if images.labels is None:
        raise ImageError(
            f"{images.source} has no class folders, and no labels for all of its images; a "
            "read-out needs the layout <class>/<image>, .cls files in the shards, or a data set's "
            "column of labels"
        )
    return images.labels


def _require_same(
    names: Sequence[str], images: ImageSet, others: Sequence[str], other_images: ImageSet
) -> None:
    """Refuse classes that only the first of two sets has."""
    if only := sorted(set(names) - set(others)):
        raise ImageError(
            f"{images.source} has classes that {other_images.source} lacks: {_some(only)}; that "
            f"one has {_some(sorted(set(others)))}; give both sets the same classes"
        )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
