"""Public names for places in a network, and the modules that stand behind them.

    blocks.3.attn.probs              attention probabilities of the fourth block of a ViT or BEiT
    blocks.3.out                     what the fourth block hands on
    stages.2.blocks.5.attn.probs     the same in Swin and SwinV2
    stages.2.blocks.5.out            the same in Swin, SwinV2, ResNet and ConvNeXt

What belongs here: how a family is described to the hooks (`Reading`, `Tap`), and finding the one
that a network belongs to. What does not: the module paths of each library (`timm_families`,
`torchvision_families`, `huggingface`, and `convolutions` for large kernels), and hooks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from mimprobe.errors import SiteError, UnknownNameError
from mimprobe.models.switches import Switch


@dataclass(frozen=True, eq=False)
class Tap:
    """Where the attention probabilities of a block can be seen.

    Attributes:
        heads: how many there are.
        module: what takes the probabilities as its input, before any dropout; None where nothing
            does, and the fused call inside `maker` is watched.
        maker: the attention module, in whose forward pass the probabilities come about; None where
            it already hands them to `module` in float32 or better.
        switches: what makes the network hand them to `module`, for the time of the context.
        in_float32: what else does, for the time of a call of `maker` in float32 or better.
        in_half: what makes `maker` end in a fused call instead, for the time of one in half
            precision, in which the probabilities would be rounded off.
    """

    heads: int
    module: nn.Module | None
    maker: nn.Module | None
    switches: tuple[Switch, ...] = ()
    in_float32: tuple[Switch, ...] = ()
    in_half: tuple[Switch, ...] = ()


@dataclass(frozen=True, eq=False)
class Site:
    """A place that can be observed.

    Attributes:
        name: the public name.
        layer: position of its block in execution order, from 0.
        block: the module whose output is the layer's features.
        attention: how to see the probabilities, for sites of those; None for features.
        scale: by how much the map is coarser here than the patch grid (Swin's later stages).
    """

    name: str
    layer: int
    block: nn.Module
    attention: Tap | None
    scale: int = 1


class Window(NamedTuple):
    """How a block cuts its map into windows; the fields of `Geometry` with the same names."""

    window: tuple[int, int]
    shift: tuple[int, int]
    pads_first: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """What the blocks of a network take and give, brought to one form.

    Attributes:
        patch: height and width of a patch in pixels; None where only the maps tell (ResNet).
        grid: rows and columns of patches, by height and width of the network's input.
        tokens: features out of what a block returns, with the channels last.
        map_size: rows and columns out of what a block is given; None where it is the patch grid.
        window: how a block cuts its map, in the pass; None for global attention.
        input_size: the only height and width of input that the network takes; None for any.
    """

    patch: tuple[int, int] | None
    grid: Callable[[tuple[int, int]], tuple[int, int]]
    tokens: Callable[[Any], Tensor]
    map_size: Callable[[tuple[Any, ...]], tuple[int, int]] | None = None
    window: Callable[[nn.Module], Window] | None = None
    input_size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Layout:
    """The sites of one network, in execution order.

    Attributes:
        family: `vit`, `vit_relpos`, `beit`, `eva`, `swin`, `swinv2`, `resnet`, `convnext` or
            `inceptionnext`.
        stem: the module that the preprocessed images enter.
        prefix_tokens: tokens before the patches.
        sites: by public name.
        reading: how to read its blocks.
        switches: what is set for any observation (MAE's encoder is shown all patches).
        class_token: whether the first prefix token is a class token, and not a register.
    """

    family: str
    stem: nn.Module
    prefix_tokens: int
    sites: Mapping[str, Site]
    reading: Reading
    switches: tuple[Switch, ...] = ()
    class_token: bool = False

    @property
    def attention_sites(self) -> tuple[str, ...]:
        """Names of the sites of attention probabilities; empty for networks without."""
        return tuple(name for name, site in self.sites.items() if site.attention is not None)

    @property
    def feature_sites(self) -> tuple[str, ...]:
        """Names of the sites of layer features."""
        return tuple(name for name, site in self.sites.items() if site.attention is None)

    def __getitem__(self, name: str) -> Site:
        if name in self.sites:
            return self.sites[name]
        if name.endswith("attn.probs") and not self.attention_sites:
            raise SiteError(
                f"no site {name!r}: this {self.family} model has no attention that can be "
                f"observed; it has features, such as {self.feature_sites[-1]!r}"
            )
        raise UnknownNameError("site", name, self.sites)


def layout(model: nn.Module) -> Layout:
    """List the sites of a network of timm, torchvision or transformers.

    Raises:
        SiteError: the network is of no known family.
    """
    # They describe their families with the classes here.
    from mimprobe.models import convolutions, huggingface, timm_families, torchvision_families

    for read in (
        timm_families.layout, convolutions.layout, torchvision_families.layout, huggingface.layout,
    ):  # fmt: skip
        found = read(model)
        if found is not None:
            return found
    raise SiteError(
        f"{type(model).__name__} is of no family that mimprobe can look into; known are timm's "
        f"{', '.join(kind.__name__ for kind in timm_families.FAMILIES)}, ConvNeXt "
        f"and MetaNeXt, torchvision's VisionTransformer, and transformers' "
        f"{', '.join(huggingface.ENCODERS)}, bare or with a head"
    )


def attention_heads(site: Site) -> int:
    """Count the heads of an attention site."""
    assert site.attention is not None
    return site.attention.heads


def block_sites(
    name: str, layer: int, block: nn.Module, tap: Tap | None, *, scale: int = 1
) -> Iterator[Site]:
    """Name what can be seen in a block: its attention, if it can be tapped, and its output."""
    if tap is not None:
        yield Site(f"{name}.attn.probs", layer, block, tap, scale)
    yield Site(f"{name}.out", layer, block, None, scale)


def by_name(sites: list[Site]) -> Mapping[str, Site]:
    """Index sites by their public names."""
    return MappingProxyType({site.name: site for site in sites})
