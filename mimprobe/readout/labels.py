"""Class numbers of the images that a read-out learns from and is judged on.

What belongs here: from class names to numbers, what is wrong with them, and drawing by class.
What does not: where names come from (`data`), and labels of training runs (`train.labels`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError, OptionError

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


def drawn_by_class(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """Draw at most `limit` images, of every class as large a share as of the others.

    Within a class the order is drawn at random. The image that comes r-th (from 0) in a class of m
    stands at r / m of it, and those that stand first in their classes are taken: one image of every
    class before a second one of any.

    Raises:
        ImageError: there are no labels.
        OptionError: the limit is smaller than the number of classes, or not positive.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"limit must be at least 1, not {limit}")
    if limit is None or limit >= len(images):
        return images
    names = _names(images)
    sizes = Counter(names)
    if limit < len(sizes):
        raise OptionError(
            f"limit={limit} is fewer images than the {len(sizes)} classes of {images.source}; a "
            f"read-out needs some of each: {len(sizes)} at least"
        )
    seen: Counter[str] = Counter()
    order = []
    for number in np.random.default_rng(seed).permutation(len(images)).tolist():
        order.append((seen[names[number]] / sizes[names[number]], number))
        seen[names[number]] += 1
    taken = sorted(number for _, number in sorted(order, key=lambda one: one[0])[:limit])
    return replace(
        images, origin=images.origin.take(taken), limit=limit, seed=seed, by_class=True, skipped={}
    )


def never_learnt(labels: Int[Tensor, " image"], truth: Int[Tensor, " query"]) -> list[str]:
    """Say how many images can never be named, as no image of their class was left to learn from."""
    lost = int((~torch.isin(truth, labels)).sum())
    if not lost:
        return []
    return [
        f"{lost} of {len(truth)} validation images are of classes of which no training image is "
        "readable: no read-out can name them."
    ]


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
