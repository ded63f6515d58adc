"""Heads that give nothing: what silences them, and finding them again.

What belongs here: the one hook that belongs to a network and not to its observer. What does not:
copying the network first (`surgery`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mimprobe.errors import OptionError
from mimprobe.models.blocks import Place

PROJECTIONS = ("attn.proj", "attn_out_proj")
"""What takes the outputs of all heads side by side, and nothing else."""

NORM = "attn.norm"
"""What some networks have before it, whose statistics are over all heads."""


@dataclass(frozen=True)
class HeadMask:
    """Called before a module that takes the outputs of all heads: some of them become zero.

    A hook and not a module of its own, so that the names of the weights stay; `copies` keeps it.
    """

    heads: tuple[int, ...]
    of: int

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Give the inputs with the channels of the heads zero, whatever they were."""
        outputs, *others = inputs
        split = outputs.reshape(*outputs.shape[:-1], self.of, -1)
        chosen = torch.tensor(self.heads, device=outputs.device)
        return split.index_fill(-2, chosen, 0.0).flatten(-2), *others


def silence(place: Place, layer: int, heads: Iterable[int]) -> None:
    """Make the output of some heads of a block zero, before norm and projection.

    Raises:
        OptionError: no such head, or no place at which heads stand side by side.
    """
    mask = HeadMask(tuple(sorted(set(heads))), place.heads)
    if not place.heads:
        raise OptionError(
            f"block {layer} is a {type(place.block).__name__}, whose heads cannot be told apart"
        )
    for head in mask.heads:
        if not 0 <= head < place.heads:
            raise OptionError(
                f"there is no head {head} in block {layer}: its heads are 0 to {place.heads - 1}"
            )
    parts = [_part(place.block, path) for path in PROJECTIONS]
    taking = [part for part in parts if part is not None]
    if not taking:
        raise OptionError(
            f"block {layer} is a {type(place.block).__name__} that projects the outputs of its "
            "heads together with those of its MLP; its heads cannot be masked"
        )
    norm = _part(place.block, NORM)
    for part in (*taking, *([] if norm is None or isinstance(norm, nn.Identity) else [norm])):
        part.register_forward_pre_hook(mask)


def masks_of(part: nn.Module) -> list[HeadMask]:
    """List the masks before a module."""
    return [hook for hook in part._forward_pre_hooks.values() if isinstance(hook, HeadMask)]


def _part(block: nn.Module, path: str) -> nn.Module | None:
    found: Any = block
    for name in path.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, nn.Module) else None
