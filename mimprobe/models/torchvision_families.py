"""The families of torchvision: its vision transformer.

What belongs here: where torchvision's networks keep blocks and attention. What does not: hooks.
Its blocks call `nn.MultiheadAttention` with `need_weights=False`, which ends in a fused call, or in
evaluation mode in a kernel of its own; nothing in them ever takes the probabilities, so the fused
call is watched (`interception`).
"""

from typing import Any

from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from mimprobe.models.sites import Layout, Reading, Tap, block_sites, by_name


def layout(model: nn.Module) -> Layout | None:
    """List the sites of a network of torchvision; None for any other."""
    return _vit(model) if isinstance(model, VisionTransformer) else None


def _vit(model: Any) -> Layout:
    patch = (model.patch_size, model.patch_size)
    sites = [
        site
        for layer, block in enumerate(model.encoder.layers)
        for site in block_sites(f"blocks.{layer}", layer, block, _tap(block))
    ]
    reading = Reading(
        patch=patch,
        grid=lambda size: (size[0] // patch[0], size[1] // patch[1]),
        tokens=_as_it_is,
        input_size=(model.image_size, model.image_size),
    )
    # Not its convolution: the network asserts the size of its images before them.
    return Layout("vit", model, 1, by_name(sites), reading, class_token=True)


def _tap(block: Any) -> Tap | None:
    attention = block.self_attention
    if type(attention) is not nn.MultiheadAttention:
        return None
    return Tap(attention.num_heads, None, attention)


def _as_it_is(output: Tensor) -> Tensor:
    return output
