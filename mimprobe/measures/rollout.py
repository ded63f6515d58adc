"""Attention rollout: attention through all layers so far, with the residual path counted.

What belongs here: products of attention maps of one image. What does not: making the maps, and
picking rows out of the result (`experiments.overlay`).

With F_l the map of layer l, its heads fused into one, and I for the residual path

    A_l = (F_l + I) / 2, rows divided by their sum        R_l = A_l R_(l-1),  R_0 = I

Row q of R_l says how much token q after layer l holds of each token of the input, were attention
all that mixes tokens. Abnar & Zuidema, ACL 2020, section 3 (who take the mean over heads).
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mimprobe.errors import UnknownNameError

FUSIONS = ("mean", "max", "min")
"""Ways to make one map of a layer's heads."""

Mixing = Float64[Tensor, "query key"]
"""One map of one image, prefix tokens included."""


def fused_heads(attention: Float[Tensor, "head query key"], fusion: str = "mean") -> Mixing:
    """Make one map of a layer's heads, entry by entry; rows of `max` and `min` miss one.

    Raises:
        UnknownNameError: no such fusion.
    """
    if fusion not in FUSIONS:
        raise UnknownNameError("fusion of heads", fusion, FUSIONS)
    wide = attention.detach().double()
    if fusion == "mean":
        return wide.mean(0)
    return wide.amax(0) if fusion == "max" else wide.amin(0)


def attention_rollout(layers: Iterable[Mixing]) -> list[Mixing]:
    """Give R_l after each layer, from the first; every row sums to one."""
    rolled: list[Mixing] = []
    for layer in layers:
        mixed = (layer + torch.eye(len(layer), dtype=layer.dtype, device=layer.device)) / 2
        mixed = mixed / mixed.sum(-1, keepdim=True)
        rolled.append(mixed @ rolled[-1] if rolled else mixed)
    return rolled
