"""Public names for places in a network, and the modules that stand behind them.

    blocks.3.attn.probs              attention probabilities of the fourth block of a ViT or BEiT
    blocks.3.out                     what the fourth block hands on
    stages.2.blocks.5.attn.probs     the same in Swin and SwinV2
    stages.2.blocks.5.out            the same in Swin, SwinV2 and ResNet

What belongs here: which families are known, and the one place where their module paths are written
down. Families are an explicit list of classes, never a pattern of names: modules called `attn_drop`
mean other things elsewhere (channels in XCiT, rows that do not sum to one in CaiT). What does not
belong here: hooks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from timm.models import beit, resnet, swin_transformer, swin_transformer_v2, vision_transformer
from torch import nn

from mimprobe.errors import SiteError, UnknownNameError

ATTENTION_CLASSES = (
    vision_transformer.Attention,
    beit.Attention,
    swin_transformer.WindowAttention,
    swin_transformer_v2.WindowAttention,
)
"""Modules whose `attn_drop` takes probabilities of shape (batch, head, query, key)."""


@dataclass(frozen=True, eq=False)
class Site:
    """A place that can be observed.

    Attributes:
        name: the public name.
        layer: position of its block in execution order, from 0.
        block: the module whose output is the layer's features.
        attention: the attention module, for sites of probabilities; None for features.
        scale: by how much the map is coarser here than the patch grid (Swin's later stages).
    """

    name: str
    layer: int
    block: nn.Module
    attention: nn.Module | None
    scale: int = 1


@dataclass(frozen=True, eq=False)
class Layout:
    """The sites of one network, in execution order.

    Attributes:
        family: `vit`, `beit`, `swin`, `swinv2` or `resnet`.
        stem: the module that the preprocessed images enter.
        prefix_tokens: tokens before the patches.
        sites: by public name.
    """

    family: str
    stem: nn.Module
    prefix_tokens: int
    sites: Mapping[str, Site]

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
    """List the sites of a network.

    Raises:
        SiteError: the network is of no known family.
    """
    for classes, read in _FAMILIES.items():
        if isinstance(model, classes):
            return read(model)
    raise SiteError(
        f"{type(model).__name__} is of no family that mimprobe can look into; known are timm's "
        "VisionTransformer (with DeiT), Beit, SwinTransformer, SwinTransformerV2 and ResNet"
    )


def attention_heads(site: Site) -> int:
    """Count the heads of an attention site."""
    assert site.attention is not None
    attention: Any = site.attention
    heads: int = attention.num_heads
    return heads


def _vit(model: nn.Module) -> Layout:
    return _plain("vit", model)


def _beit(model: nn.Module) -> Layout:
    return _plain("beit", model)


def _plain(family: str, model: Any) -> Layout:
    """ViT-like: one list of blocks over one grid."""
    sites = [
        site
        for layer, block in enumerate(model.blocks)
        for site in _block_sites(f"blocks.{layer}", layer, block, scale=1)
    ]
    return _layout(family, model.patch_embed, model.num_prefix_tokens, sites)


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
            sites.extend(_block_sites(name, layer, block, scale=scale))
            layer += 1
    return _layout(family, model.patch_embed, 0, sites)


def _resnet(model: Any) -> Layout:
    """ResNet: features only."""
    sites: list[Site] = []
    for number in range(4):
        for position, block in enumerate(getattr(model, f"layer{number + 1}")):
            name = f"stages.{number}.blocks.{position}.out"
            sites.append(Site(name, len(sites), block, attention=None))
    return _layout("resnet", model.conv1, 0, sites)


def _block_sites(name: str, layer: int, block: nn.Module, *, scale: int) -> Iterator[Site]:
    attention = getattr(block, "attn", None)
    if type(attention) in ATTENTION_CLASSES:
        yield Site(f"{name}.attn.probs", layer, block, attention, scale)
    yield Site(f"{name}.out", layer, block, None, scale)


def _layout(family: str, stem: nn.Module, prefix_tokens: int, sites: list[Site]) -> Layout:
    return Layout(family, stem, prefix_tokens, MappingProxyType({s.name: s for s in sites}))


_FAMILIES = {
    vision_transformer.VisionTransformer: _vit,
    beit.Beit: _beit,
    swin_transformer.SwinTransformer: _swin,
    swin_transformer_v2.SwinTransformerV2: _swinv2,
    resnet.ResNet: _resnet,
}
