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


def gram(features: Pooled) -> Float64[Tensor, "image image"]:
    """Gram matrix of features less their mean, which leaves HSIC as it is.

    The mean is that of the differences to the first image: features that are the same for all
    images so become exactly zero. Products of at most `COLUMNS`
    features are summed in the features' precision, at least float32, and beyond in float64.
    """
    wide = widened(features)
    images = len(wide)
    total = torch.zeros(images, images, dtype=torch.float64, device=wide.device)
    room = wide.new_empty(images, COLUMNS)
    for part in torch.split(wide, COLUMNS, dim=1):
        less = torch.sub(part, part[0], out=room[:, : part.shape[1]])
        less -= less.mean(0)
        total += less @ less.T
    return total


def hsic_pairs(features: Sequence[Float[Tensor, "image _"]]) -> Float64[Tensor, "site other_site"]:
    """Unbiased HSIC of every pair of sites, from the features of one batch of images.

    Raises:
        OptionError: fewer than 4 images.
    """
    images = len(features[0])
    require_images(images)
    centred = torch.stack([u_centred(gram(site)) for site in features]).flatten(1)
    return centred @ centred.T / (images * (images - 3))
