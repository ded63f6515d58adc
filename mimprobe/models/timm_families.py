"""The families of timm: where its networks keep blocks and attention.

What belongs here: the one place where timm's classes and module paths are written down. Families
are an explicit list of classes, never a pattern of names: modules called `attn_drop` mean other
things elsewhere (channels in XCiT, rows that do not sum to one in CaiT). What does not: hooks.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from timm.models import (
    beit,
    eva,
    resnet,
    swin_transformer,
    swin_transformer_v2,
    vision_transformer,
    vision_transformer_relpos,
)
from torch import Tensor, nn

from mimprobe.models.sites import Layout, Reading, Site, Tap, Window, block_sites, by_name
from mimprobe.models.switches import Switch

ATTENTION_CLASSES = (
    vision_transformer.Attention,
    vision_transformer.ParallelScalingBlock,  # which is block and attention in one
    beit.Attention,
    eva.EvaAttention,
    eva.AttentionRope,
    vision_transformer_relpos.RelPosAttention,
    swin_transformer.WindowAttention,
    swin_transformer_v2.WindowAttention,
)
"""Modules whose `attn_drop` takes probabilities of shape (batch, head, query, key)."""


def layout(model: nn.Module) -> Layout | None:
    """List the sites of a network of timm; None for any other."""
    for classes, read in FAMILIES.items():
        if isinstance(model, classes):
            return read(model)
    return None


def _vit(model: nn.Module) -> Layout:
    return _plain("vit", model)


def _beit(model: nn.Module) -> Layout:
    return _plain("beit", model)


def _eva(model: nn.Module) -> Layout:
    return _plain("eva", model)


def _relpos(model: nn.Module) -> Layout:
    return _plain("vit_relpos", model)


def _plain(family: str, model: Any) -> Layout:
    """ViT-like: one list of blocks over one grid."""
    sites = [
        site
        for layer, block in enumerate(model.blocks)
        for site in block_sites(f"blocks.{layer}", layer, block, _tap(block))
    ]
    stem = model.patch_embed
    reading = Reading(stem.feat_ratio(as_scalar=False), stem.dynamic_feat_size, _as_it_is)
    has_class = getattr(model, "cls_token", None) is not None
    return Layout(
        family, stem, model.num_prefix_tokens, by_name(sites), reading, class_token=has_class
    )


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
    attention: Any = getattr(block, "attn", block)
    if type(attention) not in ATTENTION_CLASSES:
        return None
    if not hasattr(attention, "fused_attn"):  # SwinV2 has no fused path
        return Tap(attention.num_heads, attention.attn_drop, attention)
    return Tap(
        attention.num_heads, attention.attn_drop, attention,
        in_float32=(Switch(attention, "fused_attn", False),),
        in_half=(Switch(attention, "fused_attn", True),),
    )  # fmt: skip


def _as_it_is(output: Tensor) -> Tensor:
    return output


def _size_of_map(inputs: tuple[Any, ...]) -> tuple[int, int]:
    rows, columns = inputs[0].shape[1:3]
    return rows, columns


def _window(block: Any) -> Window:
    return Window(tuple(block.window_size), tuple(block.shift_size), pads_first=False)


FAMILIES: Mapping[type[nn.Module], Callable[[nn.Module], Layout]] = MappingProxyType(
    {
        vision_transformer.VisionTransformer: _vit,
        beit.Beit: _beit,
        eva.Eva: _eva,
        vision_transformer_relpos.VisionTransformerRelPos: _relpos,
        swin_transformer.SwinTransformer: _swin,
        swin_transformer_v2.SwinTransformerV2: _swinv2,
        resnet.ResNet: _resnet,
    }
)
"""How the networks of each class, and of those derived from it, are read."""

ATTENDING = tuple(kind for kind in FAMILIES if kind is not resnet.ResNet)
"""Classes whose blocks attend; blocks of one width can stand in for each other."""
