"""CKA of features too wide to sum up: HSIC of small batches, added up before the ratio.

What belongs here: one batch. What does not: HSIC itself (`measures.similarity`), and adding up
(`stream.minibatch`).

    CKA = sum_b HSIC_1(K_b, L_b) / sqrt(sum_b HSIC_1(K_b, K_b) sum_b HSIC_1(L_b, L_b))

(Nguyen, Raghu, Kornblith, ICLR 2021, equations 3 and 4.) K_b is the Gram matrix of batch b: every
layer's is made once, U-centred once, and all pairs of layers are one product of the flattened ones.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mimprobe.measures.attention import widened
from mimprobe.measures.similarity import require_images, u_centred
from mimprobe.shapes import Pooled

COLUMNS = 3136
"""Columns multiplied at once: 64 rows of them stay in the processor's cache (0.8 MB)."""

FAR = 16.0
"""From this ratio of the differences' common part to their spread on, their mean is taken off."""


def gram(features: Pooled) -> Float64[Tensor, "image image"]:
    """Gram matrix of the differences to one image or to the mean, which leave HSIC as it is.

    The differences are to the first image: features that are the same for all images become
    exactly zero. Where that image lies far from all others, the product of the common part would
    cost digits, and the mean of the differences is taken off besides. Products of at most
    `COLUMNS` features are summed in the features' precision, at least float32, and beyond in
    float64.
    """
    wide = widened(features)
    total = _products(wide, centred=False)
    if len(wide) > 2 and _is_far(total[1:, 1:]):
        total = _products(wide, centred=True)
    return total


def _products(wide: Pooled, *, centred: bool) -> Float64[Tensor, "image image"]:
    images = len(wide)
    half = images // 2
    total = torch.zeros(images, images, dtype=torch.float64, device=wide.device)
    room = wide.new_empty(images, COLUMNS)
    for part in torch.split(wide, COLUMNS, dim=1):
        less = torch.sub(part, part[0], out=room[:, : part.shape[1]])
        if centred:
            less -= less.mean(0)
        # The matrix is symmetric: its lower left quarter need not be computed.
        total[:half] += less[:half] @ less.T
        total[half:, half:] += less[half:] @ less[half:].T
    total[half:, :half] = total[:half, half:].T
    return total


def _is_far(products: Float64[Tensor, "image image"]) -> bool:
    """Tell whether differences to an image have more in common than they spread."""
    others = len(products)
    squares = products.diagonal().mean()
    common = (products.sum() - products.trace()) / (others * (others - 1))
    return bool(common > FAR * (squares - common))


def hsic_pairs(features: Sequence[Float[Tensor, "image _"]]) -> Float64[Tensor, "site other_site"]:
    """Unbiased HSIC of every pair of sites, from the features of one batch of images.

    Raises:
        OptionError: fewer than 4 images.
    """
    images = len(features[0])
    require_images(images)
    centred = torch.stack([u_centred(gram(site)) for site in features]).flatten(1)
    return centred @ centred.T / (images * (images - 3))
