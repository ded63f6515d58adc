"""What the painters should paint, written down from the papers on nothing but a state dict.

Sources: SimMIM (arXiv 2111.09886) and MAE (arXiv 2111.06377). Names of the file in, pixels out.
"""

import torch
from torch import Tensor
from zoo.sources.made_files import inside
from zoo.sources.plain_swin import swin
from zoo.sources.plain_vit import State, affine, blocks, normalised, patch_tokens


def shuffled(features: Tensor, state: State, stride: int) -> Tensor:
    """SimMIM's decoder on (batch, row, column, channel).

    Channel c * s * s + y * s + x is colour c of pixel y, x of a patch of s x s. One pixel after the
    other, so that no library decides the order.
    """
    weight = state["decoder.0.weight"].flatten(1)
    values = features @ weight.T + state["decoder.0.bias"]
    batch, rows, columns, _ = values.shape
    painted = torch.zeros(batch, 3, rows * stride, columns * stride, dtype=values.dtype)
    for colour in range(3):
        for y in range(stride):
            for x in range(stride):
                channel = colour * stride**2 + y * stride + x
                painted[:, colour, y::stride, x::stride] = values[..., channel]
    return painted


def simmim_vit(file: State, images: Tensor, hidden: Tensor, *, heads: int, stride: int) -> Tensor:
    """SimMIM with BEiT's ViT: the mask token before the class token joins."""
    state = inside(file, "encoder.")
    grid = patch_tokens(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"])
    grid = torch.where(hidden[..., None], state["mask_token"], grid)
    side = grid.shape[1]
    x = torch.cat([state["cls_token"].expand(len(images), -1, -1), grid.flatten(1, 2)], 1)
    x = normalised(blocks(x, state, heads, side), state, "norm", 1e-6)
    return shuffled(x[:, 1:].unflatten(1, (side, side)), inside(file, ""), stride)


def simmim_swin(
    file: State, images: Tensor, hidden: Tensor, *, heads: tuple[int, ...], window: int, stride: int
) -> Tensor:
    features = swin(inside(file, "encoder."), images, heads=heads, window=window, hidden=hidden)
    return shuffled(features, inside(file, ""), stride)


def mae(
    file: State, image: Tensor, hidden: Tensor, *, heads: int, decoder_heads: int, norm_pix: bool
) -> Tensor:
    """MAE on one image (3, height, width): patches are kept in a list and put back by number."""
    state = inside(file, "")
    grid = patch_tokens(
        image[None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    )
    side, positions = grid.shape[1], state["pos_embed"]
    tokens = grid.flatten(1, 2) + positions[:, 1:]
    kept = [i for i, masked in enumerate(hidden.flatten().tolist()) if not masked]
    rows = [state["cls_token"] + positions[:, :1], *(tokens[:, i : i + 1] for i in kept)]
    x = normalised(blocks(torch.cat(rows, 1), state, heads, side), state, "norm", 1e-6)
    x = affine(x, state, "decoder_embed")
    whole = [x[:, :1]] + [state["mask_token"]] * side**2
    for place, number in enumerate(kept):
        whole[1 + number] = x[:, 1 + place : 2 + place]
    x = torch.cat(whole, 1) + state["decoder_pos_embed"]
    inner = {k.removeprefix("decoder_"): v for k, v in state.items() if "decoder_blocks" in k}
    x = blocks(x, inner, decoder_heads, side)
    x = affine(normalised(x, state, "decoder_norm", 1e-6), state, "decoder_pred")[0, 1:]
    return pasted_patches(x, image, norm_pix=norm_pix)


def pasted_patches(patches: Tensor, image: Tensor, *, norm_pix: bool) -> Tensor:
    """Numbers of a patch are its pixels row by row, the three colours of a pixel together."""
    side = round((len(patches)) ** 0.5)
    patch = image.shape[-1] // side
    painted = torch.zeros_like(image)
    for number, values in enumerate(patches):
        top, left = (number // side) * patch, (number % side) * patch
        truth = image[:, top : top + patch, left : left + patch]
        mean, std = 0.0, 1.0
        if norm_pix:
            mean = truth.sum() / truth.numel()
            std = (((truth - mean) ** 2).sum() / (truth.numel() - 1) + 1e-6) ** 0.5
        for y in range(patch):
            for x in range(patch):
                start = 3 * (y * patch + x)
                painted[:, top + y, left + x] = values[start : start + 3] * std + mean
    return painted
