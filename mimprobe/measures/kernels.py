"""How far and how broadly the kernels of a depth-wise convolution reach.

What belongs here: numbers of a kernel's weights, one for each channel. What does not: where a
network keeps its kernels (`models.convolutions`).

A kernel is read as one row of attention is (`measures.attention`): its absolute weights, scaled to
sum one, are the probabilities p of looking at its taps. This is a property of the weights: no image
enters. All results are float64; a kernel of zeros, or with NaN or infinity in it, gives NaN.
"""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.measures.attention import SMALLEST
from mimprobe.shapes import Kernels, PerChannel


def kernel_distance(kernels: Kernels, spacing: tuple[int, int]) -> PerChannel:
    """Mean distance of a weight from the kernel's centre: sum_k p_k ||x_k - c||.

    `spacing` is the distance between neighbouring taps, down and across, in pixels of the network's
    input: the map's stride times the dilation; the result has its unit. The centre c is the middle
    of the kernel, which lies between two taps where a side is even. For a uniform kernel of 7 x 7
    it is 2.6525 taps.
    """
    rows, columns = kernels.shape[1:]
    down, across = (
        (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * step
        for size, step in zip((rows, columns), spacing, strict=True)
    )
    distances = torch.hypot(down[:, None], across[None, :]).to(kernels.device)
    return (_shares(kernels) * distances).sum((1, 2))


def kernel_entropy(kernels: Kernels) -> PerChannel:
    """Entropy of a kernel, -sum_k p_k log p_k, in nats: 0 for one tap, log K for K alike."""
    shares = _shares(kernels)
    return -(shares * shares.clamp_min(SMALLEST).log()).sum((1, 2))


def kernel_entropy_normalised(kernels: Kernels) -> PerChannel:
    """Entropy of a kernel over its largest value, log(number of taps); between 0 and 1."""
    return kernel_entropy(kernels) / math.log(kernels[0].numel())


def _shares(kernels: Kernels) -> Float64[Tensor, "channel row column"]:
    """Absolute weights, scaled to sum one in each kernel."""
    sizes = kernels.detach().double().abs()
    return sizes / sizes.sum((1, 2), keepdim=True)
