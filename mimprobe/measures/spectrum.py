"""How many directions a representation fills: singular values and effective rank.

What belongs here: numbers of a matrix with a row for each image. What does not: keeping the rows,
and standard errors (`stream`).

With s_k the singular values of the matrix and p_k = s_k / sum s, the effective rank is

    exp(-sum_k p_k log p_k)

between 1 (one direction) and min(images, features): Roy and Vetterli, EUSIPCO 2007; RankMe, Garrido
et al., ICML 2023, who take the rows as they are. `centred` subtracts the mean row first: what all
images have in common tells none of them apart, but is often the longest direction by far.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def effective_rank(values: Float[Tensor, "*rows rank"]) -> Float64[Tensor, "*rows"]:
    """Effective rank from singular values; NaN where all are zero."""
    shares = normalised(values)
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy.exp()


def normalised(values: Float[Tensor, "*rows rank"]) -> Float64[Tensor, "*rows rank"]:
    """Divide singular values by their sum."""
    wide = values.detach().double()
    return wide / wide.sum(-1, keepdim=True)


def singular_values(
    second_moment: Float64[Tensor, "*matrices side side"],
) -> Float64[Tensor, "*matrices side"]:
    """Singular values of a matrix X, falling, from X'X or XX', whichever is smaller.

    Those that rounding of the squares hides are zero: below the square root of float64's precision,
    times the largest.
    """
    squares = torch.linalg.eigvalsh(second_moment).flip(-1)
    least = squares[..., :1] * squares.shape[-1] * torch.finfo(torch.float64).eps
    return torch.where(squares > least, squares, 0.0).sqrt()
