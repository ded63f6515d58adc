"""Networks of large depth-wise convolutions, and where their kernels are.

    stages.2.blocks.5.out            what a block of ConvNeXt or InceptionNeXt hands on

What belongs here: timm's module paths of these families, and which convolutions of a block mix
places and not channels. What does not: numbers of a kernel (`measures.kernels`).

ConvNeXt takes kernels of any size (`kernel_sizes=31`), and so stands for networks like RepLKNet.
"""

from typing import Any, NamedTuple

from timm.models import convnext, inception_next
from torch import Tensor, nn

from mimprobe.models.sites import Layout, Reading, Site, by_name
from mimprobe.shapes import Kernels

CONVOLUTIONAL = {
    convnext.ConvNeXt: "convnext",
    inception_next.MetaNeXt: "inceptionnext",
}
"""Families by class: stages of blocks, each stage on a coarser map."""


class Depthwise(NamedTuple):
    """A depth-wise convolution of a block.

    Attributes:
        site: name of the block's output.
        layer: position of the block in execution order, from 0.
        name: of the convolution within its block.
        kernels: one for each channel that it gives.
        spacing: pixels of the network's input from one tap to the next, down and across.
    """

    site: str
    layer: int
    name: str
    kernels: Kernels
    spacing: tuple[int, int]


def layout(model: nn.Module) -> Layout | None:
    """Describe a network of these families; None for any other."""
    for family, name in CONVOLUTIONAL.items():
        if isinstance(model, family):
            return _staged(name, model)
    return None


def depthwise_convolutions(places: Layout) -> tuple[Depthwise, ...]:
    """List the depth-wise convolutions of all blocks that look at more than one place."""
    patch = places.reading.patch
    if patch is None:  # only the maps of a pass tell how coarse ResNet's are; it has none anyway
        return ()
    return tuple(
        Depthwise(
            site.name, site.layer, name, part.weight.detach()[:, 0], _spacing(patch, site, part)
        )
        for site in (places[name] for name in places.feature_sites)
        for name, part in site.block.named_modules()
        if isinstance(part, nn.Conv2d) and _is_depthwise(part)
    )  # fmt: skip


def _is_depthwise(part: nn.Conv2d) -> bool:
    return part.groups == part.in_channels > 1 and max(part.kernel_size) > 1


def _spacing(patch: tuple[int, int], site: Site, part: nn.Conv2d) -> tuple[int, int]:
    down, across = part.dilation
    return patch[0] * site.scale * down, patch[1] * site.scale * across


def _staged(family: str, model: Any) -> Layout:
    # A stage that keeps its map (`output_stride`) dilates its kernels; only timm's record of the
    # reduction says so for all of them.
    reductions = [int(info["reduction"]) for info in model.feature_info]
    finest = reductions[0]
    sites: list[Site] = []
    for number, (stage, reduction) in enumerate(zip(model.stages, reductions, strict=True)):
        for position, block in enumerate(stage.blocks):
            name = f"stages.{number}.blocks.{position}.out"
            sites.append(Site(name, len(sites), block, None, reduction // finest))
    reading = Reading(
        (finest, finest), lambda size: (size[0] // finest, size[1] // finest), _channels_last
    )
    return Layout(family, model.stem, 0, by_name(sites), reading)


def _channels_last(output: Tensor) -> Tensor:
    return output.permute(0, 2, 3, 1)
