"""How unlike the maps of two heads are, as angles between them.

What belongs here: distances between whole maps. What does not: divergences, which ask where one
head looks and the other does not (`measures.attention`).

A map of one head is a vector with an entry for each pair of query and key. The distance of two is
1 - cos of the angle between them: 0 for equal maps, 1 for maps that share no pair. Rows left out in
one of the two (zero) are left out in both.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.measures.attention import row_dots
from mimprobe.shapes import Attention, HeadPairs


def map_distance(attention: Attention) -> HeadPairs:
    """Distance of the maps of every two heads, image by image.

    1 - sum A_i A_j / sqrt(sum A_i^2 sum A_j^2), over the rows kept in both heads. Symmetric;
    the diagonal is 0; NaN where no row is left.
    """
    dots = row_dots(attention)  # [b, q, h, g]
    own = dots.diagonal(dim1=-2, dim2=-1)  # [b, q, h]
    lengths = own.transpose(1, 2) @ (own > 0).double()  # of head i, over the rows kept in j
    cosine = dots.sum(1) / (lengths * lengths.mT).sqrt()
    itself = torch.eye(cosine.shape[-1], dtype=torch.bool, device=cosine.device)
    return (1 - cosine).masked_fill(itself & cosine.isfinite(), 0.0)


def mean_map_distance(
    total: Float64[Tensor, "head query key"],
) -> Float64[Tensor, "head other"]:
    """Distance of the average maps of every two heads, from sums of maps over images.

    A row is averaged over the images that kept it: its mass tells how many.
    """
    mass = total.sum(-1, keepdim=True)
    mean = torch.where(mass > 0, total / mass, 0.0)
    return map_distance(mean.unsqueeze(0))[0]
