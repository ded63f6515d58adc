"""Effective receptive field: how much each pixel contributes to one place of a feature map.

What belongs here: numbers of a gradient. What does not: taking it (`experiments.receptive_field`).

With f_c(u) channel c of the feature map at place u, and x_d(p) colour d of the input at pixel p, an
image's contribution is

    g(p) = sum_d relu( d/dx_d(p) sum_c relu(f_c(u)) )          `positive`
    g(p) = sum_d | d/dx_d(p) sum_c relu(f_c(u)) |              `absolute`

The gradient at the middle of the map is Luo et al., NeurIPS 2016; the two ReLUs are those of
RepLKNet (Ding et al., CVPR 2022, section 4.1). Here every image's g is divided by its sum, so that
each counts alike; RepLKNet averages g itself.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.errors import UnknownNameError
from mimprobe.shapes import Contribution, Images

PARTS = {"positive": torch.relu, "absolute": torch.abs}
"""What is taken of each entry of the gradient."""

SquareShares = Float64[Tensor, "batch reach"]
"""Share of an image's contribution in the square that reaches so many pixels from its middle."""


def contribution(gradient: Images, part: str = "positive") -> Contribution:
    """Sum the gradient over colours, and scale each image's map to sum one.

    An image without any such gradient gives NaN.

    Raises:
        UnknownNameError: no such part.
    """
    if part not in PARTS:
        raise UnknownNameError("part of the gradient", part, PARTS)
    sizes = PARTS[part](gradient.detach().double()).sum(1)
    return sizes / sizes.sum((1, 2), keepdim=True)


def square_shares(shares: Contribution, middle: tuple[float, float]) -> tuple[SquareShares, Tensor]:
    """Give the part of each map that lies in the squares round `middle`, and their sides.

    A square is bounded by the outer edges of the pixels at its rim: with the middle on a pixel its
    sides are 1, 3, 5 ... pixels, with the middle between four of them 2, 4, 6 ... Where a square
    reaches over the rim of the image there is nothing; the last one holds the whole image.
    """
    rows, columns = (
        (torch.arange(size, dtype=torch.float64) - at).abs()
        for size, at in zip(shares.shape[1:], middle, strict=True)
    )
    reach = torch.maximum(rows[:, None], columns[None, :])
    steps, place = torch.unique(reach, return_inverse=True)
    within = torch.zeros(len(shares), len(steps), dtype=torch.float64, device=shares.device)
    within.index_add_(1, place.flatten().to(shares.device), shares.flatten(1))
    return within.cumsum(1), 2 * steps + 1


def square_side(curve: Float64[Tensor, "*draw reach"], sides: Tensor, share: float) -> Tensor:
    """Give the side of the smallest square that holds a share; `curve` grows with the side."""
    first = (curve >= share * (1 - 1e-9)).to(torch.uint8).argmax(-1)
    return sides[first]


def side_error(
    curves: SquareShares, sides: Tensor, share: float, *, draws: int = 2000, seed: int = 0
) -> float:
    """Standard error of the side for the mean of the curves, by bootstrap over images.

    NaN from one image.
    """
    images = len(curves)
    if images < 2:
        return float("nan")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(images, (draws, images), generator=generator)
    times = torch.zeros(draws, images, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return float(square_side(times @ curves / images, sides, share).std())
