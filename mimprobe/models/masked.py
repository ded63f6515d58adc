"""A pass through an encoder that does not see all patches.

What belongs here: showing a network of timm an image with patches hidden, and its features as a
map. What does not: drawing masks (`data.masks`), and turning features into pixels.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimprobe.models.sites import layout
from mimprobe.shapes import Images, PatchMask

FeatureMap = Float[Tensor, "batch feature map_row map_column"]


def masked_features(
    encoder: nn.Module, images: Images, mask: PatchMask, mask_token: Float[Tensor, "1 1 channel"]
) -> FeatureMap:
    """Give the features of images whose masked patch embeddings are a learned token.

    The token takes their place before positions, prefix tokens and the first block: the patches are
    hidden, where they are is not.

    Args:
        encoder: a ViT, BEiT, Swin or SwinV2 of timm, whose `patch_embed` yields patch tokens.
        images: normalised images.
        mask: on the grid of `patch_embed`, True where hidden.
        mask_token: the learned token.

    Returns:
        The last features after the encoder's norm, without prefix tokens; in hierarchical networks
        the map is smaller than the mask.

    Source: SimMIM (arXiv 2111.09886), section 3.2.
    """

    def hide(module: nn.Module, inputs: tuple[Tensor], tokens: Tensor) -> Tensor:  # noqa: ARG001
        hidden = mask.reshape(*tokens.shape[:-1], 1)
        return torch.where(hidden, mask_token.reshape(-1).to(tokens.dtype), tokens)

    network: Any = encoder
    with network.patch_embed.register_forward_hook(hide):
        features: Tensor = network.forward_features(images)
    if features.ndim == 4:  # Swin's: batch, row, column, channel
        return features.permute(0, 3, 1, 2)
    patches = features[:, layout(encoder).prefix_tokens :]
    return patches.transpose(1, 2).reshape(len(images), -1, *mask.shape[1:])


def visible_features(
    encoder: nn.Module, images: Images, visible: Int[Tensor, " kept"]
) -> Float[Tensor, "batch token channel"]:
    """Give the tokens of a plain ViT that is shown only some patches of its images.

    Args:
        encoder: a plain ViT of timm with one class token and absolute positions.
        images: normalised images.
        visible: numbers of the patches that are shown, row by row; the same for all images.

    Returns:
        The class token, then the visible patches, after the encoder's norm.

    Source: MAE (arXiv 2111.06377), section 3.
    """
    network: Any = encoder
    patches = network.patch_embed(images) + network.pos_embed[:, 1:]
    first = (network.cls_token + network.pos_embed[:, :1]).expand(len(images), -1, -1)
    tokens = network.norm_pre(torch.cat([first, patches[:, visible]], 1))
    seen: Tensor = network.norm(network.blocks(tokens))
    return seen
