"""Public names for places in a network, and the modules that stand behind them.

    blocks.3.attn.probs              attention probabilities of the fourth block of a ViT or BEiT
    blocks.3.out                     what the fourth block hands on
    stages.2.blocks.5.attn.probs     the same in Swin and SwinV2
    stages.2.blocks.5.out            the same in Swin, SwinV2, ResNet and ConvNeXt

What belongs here: which families are known, how a family is described to the hooks (`Reading`,
`Tap`, `Switch`), and the one place where timm's module paths are written down; those of Hugging
Face's transformers are in `huggingface`, those of large kernels in `convolutions`. Families are an
explicit list of classes, never a pattern of names: modules called `attn_drop` mean other things
elsewhere (channels in XCiT, rows that do not sum to one in CaiT). What does not belong here: hooks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from timm.models import beit, resnet, swin_transformer, swin_transformer_v2, vision_transformer
from torch import Tensor, nn

from mimprobe.errors import SiteError, UnknownNameError

ATTENTION_CLASSES = (
    vision_transformer.Attention,
    beit.Attention,
    swin_transformer.WindowAttention,
    swin_transformer_v2.WindowAttention,
)
"""Modules whose `attn_drop` takes probabilities of shape (batch, head, query, key)."""


class Switch(NamedTuple):
    """An attribute of a module that has another value for the time of a context."""

    owner: nn.Module
    name: str
    value: object


@dataclass(frozen=True, eq=False)
class Tap:
    """Where the attention probabilities of a block can be seen.

    Attributes:
        heads: how many there are.
        module: what takes the probabilities as its input, before any dropout.
        switches: what makes the network compute them, and hand them to `module`.
    """

    heads: int
    module: nn.Module
    switches: tuple[Switch, ...] = ()


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
        family: `vit`, `beit`, `swin`, `swinv2`, `resnet`, `convnext` or `inceptionnext`.
        stem: the module that the preprocessed images enter.
        prefix_tokens: tokens before the patches.
        sites: by public name.
        reading: how to read its blocks.
        switches: what is set for any observation (MAE's encoder is shown all patches).
    """

    family: str
    stem: nn.Module
    prefix_tokens: int
    sites: Mapping[str, Site]
    reading: Reading
    switches: tuple[Switch, ...] = ()

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
    """List the sites of a network of timm or of transformers.

    Raises:
        SiteError: the network is of no known family.
    """
    # Both describe their families with the classes here.
    from mimprobe.models import convolutions, huggingface

    for classes, read in _FAMILIES.items():
        if isinstance(model, classes):
            return read(model)
    found = convolutions.layout(model) or huggingface.layout(model)
    if found is not None:
        return found
    raise SiteError(
        f"{type(model).__name__} is of no family that mimprobe can look into; known are timm's "
        "VisionTransformer (with DeiT), Beit, SwinTransformer, SwinTransformerV2, ResNet, ConvNeXt "
        f"and MetaNeXt, and transformers' {', '.join(huggingface.ENCODERS)}, bare or with a head"
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


def _vit(model: nn.Module) -> Layout:
    return _plain("vit", model)


def _beit(model: nn.Module) -> Layout:
    return _plain("beit", model)


def _plain(family: str, model: Any) -> Layout:
    """ViT-like: one list of blocks over one grid."""
    sites = [
        site
        for layer, block in enumerate(model.blocks)
        for site in block_sites(f"blocks.{layer}", layer, block, _tap(block))
    ]
    stem = model.patch_embed
    reading = Reading(stem.feat_ratio(as_scalar=False), stem.dynamic_feat_size, _as_it_is)
    return Layout(family, stem, model.num_prefix_tokens, by_name(sites), reading)


def _swin(model: nn.Module) -> Layout:
    return _staged("swin", model)


def _swinv2(model: nn.Module) -> Layout:
    return _staged("swinv2", model)


def _staged(family: str, model: Any) -> Layout:
    """Swin-like: stages of blocks, each stage on a coarser map."""
    sites: list[Site] = []
    layer, scale = 0, 1
    for number, stage in enumerate(model.layers):
        scale *= 1 if isinstance(stage.downsample, nn.Identity) else 2
        for position, block in enumerate(stage.blocks):
            name = f"stages.{number}.blocks.{position}"
            sites.extend(block_sites(name, layer, block, _tap(block), scale=scale))
            layer += 1
    stem = model.patch_embed
    reading = Reading(
        stem.feat_ratio(as_scalar=False), stem.dynamic_feat_size, _as_it_is,
        map_size=_size_of_map, window=_window,
    )  # fmt: skip
    return Layout(family, stem, 0, by_name(sites), reading)


def _resnet(model: Any) -> Layout:
    """ResNet: features only."""
    sites: list[Site] = []
    for number in range(4):
        for position, block in enumerate(getattr(model, f"layer{number + 1}")):
            name = f"stages.{number}.blocks.{position}.out"
            sites.append(Site(name, len(sites), block, attention=None))
    reading = Reading(None, lambda size: size, lambda output: output.permute(0, 2, 3, 1))
    return Layout("resnet", model.conv1, 0, by_name(sites), reading)


def _tap(block: Any) -> Tap | None:
    """Tap timm's attention, which computes probabilities only while it is not fused."""
    attention: Any = getattr(block, "attn", None)
    if type(attention) not in ATTENTION_CLASSES:
        return None
    fused = hasattr(attention, "fused_attn")  # SwinV2 has no fused path
    switches = (Switch(attention, "fused_attn", False),) if fused else ()
    return Tap(attention.num_heads, attention.attn_drop, switches)


def _as_it_is(output: Tensor) -> Tensor:
    return output


def _size_of_map(inputs: tuple[Any, ...]) -> tuple[int, int]:
    rows, columns = inputs[0].shape[1:3]
    return rows, columns


def _window(block: Any) -> Window:
    return Window(tuple(block.window_size), tuple(block.shift_size), pads_first=False)


_FAMILIES = {
    vision_transformer.VisionTransformer: _vit,
    beit.Beit: _beit,
    swin_transformer.SwinTransformer: _swin,
    swin_transformer_v2.SwinTransformerV2: _swinv2,
    resnet.ResNet: _resnet,
}
