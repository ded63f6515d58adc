"""Whether two representations see the same images beside each other.

What belongs here: nearest neighbours within one set of features, and what two sets share. What does
not: keeping features (`stream`), and classification by neighbours (`readout.neighbours`).

The overlap of two representations at an image is the share of its k nearest neighbours that they
have in common: mutual k-nearest-neighbour alignment of Huh et al., "The Platonic Representation
Hypothesis", ICML 2024, section 2 and appendix A. By chance it is k / (n - 1).
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.shapes import PerImage, Pooled

Neighbours = Int64[Tensor, "image neighbour"]
"""Places of an image's nearest neighbours among the rows; -1 for one whose neighbours are tied."""

TIE = 1e-12
"""Cosines that differ by less are equal: the order of such rows would depend on that of the images
alone."""

BLOCK_BYTES = 64 << 20
"""Memory for the similarities of one block of images with all."""


def nearest_neighbours(features: Pooled, k: int) -> Neighbours:
    """The k rows with the largest cosine similarity to each row, itself left out.

    Of rows of length zero the similarity to every row is 0. Cosines are float64. A row whose k-th
    and next neighbour are equally near has no k nearest ones.

    Raises:
        OptionError: there are no k other rows.
    """
    n = len(features)
    if not 1 <= k < n:
        raise OptionError(f"{k} nearest neighbours among {n} images; there must be more images")
    unit = torch.nn.functional.normalize(features.detach().double(), dim=1)
    found = []
    for start in range(0, n, max(1, BLOCK_BYTES // (8 * n))):
        block = unit[start : start + max(1, BLOCK_BYTES // (8 * n))]
        cosines = block @ unit.T
        cosines[:, start : start + len(block)].fill_diagonal_(-torch.inf)
        nearest = cosines.topk(min(k + 1, n - 1), dim=1)
        places = nearest.indices[:, :k]
        if n - 1 > k:
            tied = nearest.values[:, k - 1] - nearest.values[:, k] < TIE
            places = places.masked_fill(tied.unsqueeze(1), -1)
        found.append(places)
    return torch.cat(found)


def neighbour_overlap(first: Neighbours, second: Neighbours) -> PerImage:
    """The share of each image's neighbours that both lists have; NaN where one has ties."""
    shared = (first.unsqueeze(2) == second.unsqueeze(1)).flatten(1).sum(1)
    tied = (first[:, 0] < 0) | (second[:, 0] < 0)
    return (shared.double() / first.shape[1]).masked_fill(tied, torch.nan)
