"""A network as read off a checkpoint, and what all families read off names and shapes alike.

What belongs here: counting and sizes that no family has to itself. What does not: the families.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mimprobe.errors import CheckpointError

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """An architecture with its arguments.

    Attributes:
        architecture: name of a timm model, or of one in `zoo.build`.
        arguments: passed to it.
        width: of the first block's tokens.
        input_size: height and width of the input that it was made for.
        prefix_tokens: tokens before the patches.
        heads: of each block or stage, where the shapes tell.
        open_heads: numbers of heads that the shapes allow and custom knows; empty where they tell.
        others: further networks that fit equally well.
        told: in words, what tells this one from the others.
        assumed: what was taken from custom.
    """

    architecture: str
    arguments: Mapping[str, Any]
    width: int
    input_size: tuple[int, int]
    prefix_tokens: int = 0
    heads: tuple[int, ...] = ()
    open_heads: tuple[int, ...] = ()
    others: tuple["Network", ...] = ()
    told: str = ""
    assumed: tuple[str, ...] = ()


def patches_of(tensors: Tensors) -> tuple[int, int]:
    """Give width and side of the patch embedding."""
    weight = tensors["patch_embed.proj.weight"]
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise CheckpointError(
            f"a patch embedding of shape {tuple(weight.shape)} is not known; name the network with "
            "arch= (--arch)"
        )
    return weight.shape[0], weight.shape[2]


def count_of(tensors: Tensors, pattern: str) -> int:
    """Count by the largest number that stands in names of a pattern."""
    found = {int(match[1]) for name in tensors if (match := re.match(pattern, name))}
    if found != set(range(len(found))):
        raise CheckpointError(f"the numbers in {pattern} have gaps: {sorted(found)}")
    return len(found)


def classes_of(tensors: Tensors, name: str) -> int:
    """Count the outputs of a classifier; 0 where there is none."""
    return tensors[name].shape[0] if name in tensors else 0


def mlp_ratio_of(tensors: Tensors, name: str, width: int) -> dict[str, float]:
    """Give the width of the hidden layer as an argument, where it is not the usual four times."""
    ratio = tensors[name].shape[0] / width
    return {} if ratio == 4 else {"mlp_ratio": ratio}
