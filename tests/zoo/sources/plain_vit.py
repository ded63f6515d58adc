"""ViT, BEiT and SimMIM's ViT written down from their papers, on nothing but a state dict.

Sources: ViT (arXiv 2010.11929), DeiT (2012.12877), BEiT (2106.08254, layer scale and relative
positions), SimMIM (2111.09886). No timm, no modules: names of the file in, numbers out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def normalised(x: Tensor, state: State, name: str, eps: float) -> Tensor:
    """Layer normalisation over the channels, with the variance of all of them (not unbiased)."""
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + eps).rsqrt()
    return centred * scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def affine(x: Tensor, state: State, name: str) -> Tensor:
    bias = state.get(f"{name}.bias")
    product = x @ state[f"{name}.weight"].T
    return product if bias is None else product + bias


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution's cumulative function; not its approximation by tanh."""
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def mlp(x: Tensor, state: State, name: str) -> Tensor:
    return affine(gelu(affine(x, state, f"{name}.fc1")), state, f"{name}.fc2")


def patch_tokens(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(batch, rows, columns, width): each patch's pixels times the weight; rows first."""
    side = weight.shape[-1]
    batch, colours, height, width = images.shape
    cut = images.reshape(batch, colours, height // side, side, width // side, side)
    return torch.einsum("bkrycx,wkyx->brcw", cut, weight) + bias


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, tokens, 3 * width) to q, k, v of (batch, head, tokens, width / heads)."""
    batch, tokens, _ = x.shape
    return x.reshape(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)


def attended(logits: Tensor, values: Tensor) -> Tensor:
    """Softmax over the keys, and the mixed values with the heads side by side."""
    probabilities = (logits - logits.amax(-1, keepdim=True)).exp()
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return (probabilities @ values).transpose(1, 2).flatten(2)


def attention(x: Tensor, state: State, name: str, heads: int, bias: Tensor | float = 0.0) -> Tensor:
    """Softmax of q k / sqrt(width of a head), plus a bias; q and v alone may have biases."""
    joint = affine(x, state, f"{name}.qkv")
    if f"{name}.q_bias" in state:
        q_bias, v_bias = state[f"{name}.q_bias"], state[f"{name}.v_bias"]
        joint = joint + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    q, k, v = split_heads(joint, heads)
    logits = q @ k.mT / q.shape[-1] ** 0.5 + bias
    return affine(attended(logits, v), state, f"{name}.proj")


def depth_of(state: State) -> int:
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))


def beit_bias(table: Tensor, grid: int) -> Tensor:
    """(head, query, key) of the class token and a grid, out of BEiT's table.

    An entry for each of (2 grid - 1)^2 differences of places, row difference first; then three:
    from the class token to a patch, from a patch to the class token, from the class token to it.
    """
    reach = 2 * grid - 1
    places = [(row, column) for row in range(grid) for column in range(grid)]
    to_patch, to_class, to_itself = (len(table) - 3, len(table) - 2, len(table) - 1)
    rows = [[to_itself] + [to_patch] * len(places)]
    for row, column in places:
        differences = [(row - other[0], column - other[1]) for other in places]
        rows.append(
            [to_class] + [(down + grid - 1) * reach + across + grid - 1
                          for down, across in differences]
        )  # fmt: skip
    return table[torch.tensor(rows)].permute(2, 0, 1)


def vit(
    state: State,
    images: Tensor,
    *,
    heads: int,
    prefix: tuple[str, ...] = ("cls_token",),
    final: str | None = "norm",
    eps: float = 1e-6,
) -> Tensor:
    """All tokens of a plain ViT before any pooling; `final` is None where nothing normalises them.

    Layer scale and relative positions take part where the state has them.
    """
    grid = patch_tokens(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"])
    side = grid.shape[1]
    first = [state[name].expand(len(images), -1, -1) for name in prefix]
    x = torch.cat([*first, grid.flatten(1, 2)], 1)
    if "pos_embed" in state:
        x = x + state["pos_embed"]
    x = blocks(x, state, heads, side, eps)
    return x if final is None else normalised(x, state, final, eps)


def blocks(x: Tensor, state: State, heads: int, side: int, eps: float = 1e-6) -> Tensor:
    """All blocks one after another, on tokens of a `side` x `side` grid."""
    shared = state.get("rel_pos_bias.relative_position_bias_table")
    for number in range(depth_of(state)):
        name = f"blocks.{number}"
        table = state.get(f"{name}.attn.relative_position_bias_table", shared)
        bias = 0.0 if table is None else beit_bias(table, side)
        inner = attention(
            normalised(x, state, f"{name}.norm1", eps), state, f"{name}.attn", heads, bias
        )
        x = x + state.get(f"{name}.gamma_1", 1.0) * inner
        inner = mlp(normalised(x, state, f"{name}.norm2", eps), state, f"{name}.mlp")
        x = x + state.get(f"{name}.gamma_2", 1.0) * inner
    return x


def mean_pooled(tokens: Tensor, state: State, eps: float = 1e-6) -> Tensor:
    """Classify the mean of the patches, normalised after the mean (MAE and SimMIM fine-tuned)."""
    pooled = normalised(tokens[:, 1:].mean(1), state, "fc_norm", eps)
    return affine(pooled, state, "head")
