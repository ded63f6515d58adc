"""What the tokens of one image look like after one layer: alike, long, or with single huge values.

What belongs here: numbers of one layer's tokens, one for each image. What does not: frequencies
over the patch grid (`measures.frequency`), and what needs many images (`measures.spectrum`).

Every sum is float64. NaN or infinity in the tokens of an image makes its numbers NaN or infinite.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mimprobe.measures.attention import widened
from mimprobe.shapes import PerImage, Tokens

_BIN_BITS = 16
"""Low bits of a float32 that are dropped to make the bins in which a median is looked for."""


def token_similarity(patches: Tokens) -> PerImage:
    """Mean cosine similarity of two different tokens of an image, over all pairs: 1 if all agree.

    With unit tokens u_p, their number P and their sum s = sum_p u_p, the pairs add up to
    |s|^2 - P, so that no P x P matrix is needed:

        (|s|^2 - P) / (P (P - 1))

    Tokens of length zero have no direction and are left out; NaN where fewer than two are left.
    Over-smoothing: Wang et al., "Anti-Oversmoothing in Deep Vision Transformers", ICLR 2022.
    """
    wide = patches.detach().double()
    lengths: Tensor = torch.linalg.vector_norm(wide, dim=-1)
    weights = torch.where(lengths > 0, 1 / lengths, 0.0)
    total = (weights.unsqueeze(1) @ wide).squeeze(1)
    count = (lengths > 0).sum(1)
    mean = (total.square().sum(1) - count) / (count * (count - 1))
    return mean.masked_fill(count < 2, torch.nan)


def feature_norm(patches: Tokens) -> PerImage:
    """Mean Euclidean length of the tokens of an image."""
    lengths: Tensor = torch.linalg.vector_norm(patches.detach().double(), dim=-1)
    return lengths.mean(1)


def activation_ratio(tokens: Tokens) -> PerImage:
    """Largest absolute activation of an image over the median one, of all its tokens and channels.

    Thousands where there are massive activations: Sun et al., "Massive Activations in Large
    Language Models", COLM 2024, who take all tokens too. The median of an even number of values is
    the lower of the two in the middle. NaN where it is zero, as after a ReLU that closes most
    channels.
    """
    sizes = widened(tokens).abs().flatten(1)
    middle = torch.stack([_lower_median(image.float()) for image in sizes]).double()
    return torch.where(middle > 0, sizes.amax(1).double() / middle, torch.nan)


def _lower_median(sizes: Float[Tensor, "value"]) -> Float[Tensor, ""]:
    """Find the median of values that are not negative, exactly.

    Floats of one sign are ordered like the integers of the same bits. Counting their leading bits
    finds the bin that holds the median, and leaves few values to sort: ten times faster than
    selection among all.
    """
    bins = sizes.view(torch.int32) >> _BIN_BITS
    upto = torch.bincount(bins).cumsum(0)
    rank = (len(sizes) + 1) // 2
    chosen = int((upto < rank).sum())
    below = int(upto[chosen - 1]) if chosen else 0
    return sizes[bins == chosen].kthvalue(rank - below).values
