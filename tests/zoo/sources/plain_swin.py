"""Swin and SwinV2 written down from their papers, on nothing but a state dict in original names.

Sources: Swin (arXiv 2103.14030), SwinV2 (2111.09883). Windows are not cut out: every token attends
to the whole map, and what lies outside its window gets no weight.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from zoo.sources.plain_vit import (
    State,
    affine,
    attended,
    mlp,
    normalised,
    patch_tokens,
    split_heads,
)

EPS = 1e-5
FAR = -100.0  # what the original adds where two tokens met by the shift only

Merge = Callable[[Tensor], Tensor]


def _places(side: int, window: int, shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Number of the window, region after the shift, and row and column in the window, per token."""
    rolled = (torch.arange(side) - shift) % side
    regions = torch.zeros(side, dtype=torch.long)
    if shift:
        regions = (rolled >= side - window).long() + (rolled >= side - shift).long()

    def of_grid(row: Tensor, column: Tensor, count: int) -> Tensor:
        return (row[:, None] * count + column[None, :]).flatten()

    windows = of_grid(rolled // window, rolled // window, side)
    region = of_grid(regions, regions, 3)
    inside = rolled % window
    rows = inside[:, None].expand(side, side).flatten()
    columns = inside[None, :].expand(side, side).flatten()
    return windows, region, rows, columns


def window_bias(table: Tensor, side: int, window: int, shift: int) -> Tensor:
    """(head, query, key) of a whole map: the table's entry, and what is added to keep apart."""
    windows, region, rows, columns = _places(side, window, shift)
    down = rows[:, None] - rows[None, :] + window - 1
    across = columns[:, None] - columns[None, :] + window - 1
    bias = table[down * (2 * window - 1) + across].permute(2, 0, 1)
    bias = bias + FAR * (region[:, None] != region[None, :])
    return bias.masked_fill(windows[:, None] != windows[None, :], -math.inf)


def merged_by_columns(x: Tensor) -> Tensor:
    """Four neighbours as one, in the original's order: down the first column, then the second."""
    return torch.cat([x[:, down::2, across::2] for across in (0, 1) for down in (0, 1)], -1)


def merged_by_unfold(x: Tensor) -> Tensor:
    """Four neighbours as one, as torch's unfold lays them out (mmpretrain)."""
    batch, rows, columns, _ = x.shape
    cut = F.unfold(x.permute(0, 3, 1, 2), kernel_size=2, stride=2)
    return cut.mT.reshape(batch, rows // 2, columns // 2, -1)


def _swin_block(x: Tensor, state: State, name: str, heads: int, window: int, shift: int) -> Tensor:
    side = x.shape[1]
    table = state[f"{name}.attn.relative_position_bias_table"]
    joint = affine(normalised(x, state, f"{name}.norm1", EPS), state, f"{name}.attn.qkv")
    q, k, v = split_heads(joint.flatten(1, 2), heads)
    logits = q @ k.mT / q.shape[-1] ** 0.5 + window_bias(table, side, window, shift)
    x = x + affine(attended(logits, v), state, f"{name}.attn.proj").unflatten(1, (side, side))
    return x + mlp(normalised(x, state, f"{name}.norm2", EPS), state, f"{name}.mlp")


def _swinv2_block(
    x: Tensor, state: State, name: str, heads: int, window: int, shift: int, trained: int
) -> Tensor:
    side = x.shape[1]
    q_bias, v_bias = state[f"{name}.attn.q_bias"], state[f"{name}.attn.v_bias"]
    joint = affine(x, state, f"{name}.attn.qkv")
    joint = joint + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    q, k, v = split_heads(joint.flatten(1, 2), heads)
    cosine = (q / q.norm(dim=-1, keepdim=True)) @ (k / k.norm(dim=-1, keepdim=True)).mT
    scale = state[f"{name}.attn.logit_scale"].clamp(max=math.log(100)).exp()
    table = 16 * torch.sigmoid(position_values(state, f"{name}.attn", window, trained))
    logits = cosine * scale + window_bias(table, side, window, shift)
    inner = affine(attended(logits, v), state, f"{name}.attn.proj").unflatten(1, (side, side))
    x = x + normalised(inner, state, f"{name}.norm1", EPS)
    return x + normalised(mlp(x, state, f"{name}.mlp"), state, f"{name}.norm2", EPS)


def position_values(state: State, name: str, window: int, trained: int) -> Tensor:
    """The network of the positions at every difference, in logarithmic coordinates.

    sign(d) log2(1 + |d|) / log2(8), with d the difference over the largest one of the window that
    the network was trained with, times 8.
    """
    kind = "cpb_mlp" if f"{name}.cpb_mlp.0.weight" in state else "rpe_mlp"
    steps = torch.arange(-(window - 1), window, dtype=torch.float64) / (trained - 1) * 8
    along = steps.sign() * (1 + steps.abs()).log2() / 3
    pairs = torch.stack(torch.meshgrid(along, along, indexing="ij"), -1).reshape(-1, 2)
    pairs = pairs.to(state[f"{name}.q_bias"].dtype)
    return affine(affine(pairs, state, f"{name}.{kind}.0").clamp(min=0), state, f"{name}.{kind}.2")


def swin(
    state: State,
    images: Tensor,
    *,
    heads: tuple[int, ...],
    window: int,
    merge: Merge = merged_by_columns,
    hidden: Tensor | None = None,
) -> Tensor:
    """(batch, rows, columns, channels) after the last norm, for Swin; `hidden` as in SimMIM."""
    x = _stem(state, images)
    if hidden is not None:
        x = torch.where(hidden[..., None], state["mask_token"], x)
    for stage, count in enumerate(heads):
        side = x.shape[1]
        size, shift = (window, window // 2) if side > window else (side, 0)
        for number in range(_depth(state, stage)):
            name, moved = f"layers.{stage}.blocks.{number}", shift * (number % 2)
            x = _swin_block(x, state, name, count, size, moved)
        if stage < len(heads) - 1:
            name = f"layers.{stage}.downsample"
            x = affine(normalised(merge(x), state, f"{name}.norm", EPS), state, f"{name}.reduction")
    return normalised(x, state, "norm", EPS)


def swinv2(
    state: State,
    images: Tensor,
    *,
    heads: tuple[int, ...],
    window: int,
    trained: tuple[int, ...] | None = None,
) -> Tensor:
    """The same for SwinV2; `trained`: windows of the stages when the positions were trained."""
    x = _stem(state, images)
    for stage, count in enumerate(heads):
        side = x.shape[1]
        size, shift = (window, window // 2) if side > window else (side, 0)
        usual = size if trained is None else trained[stage]
        for number in range(_depth(state, stage)):
            name, moved = f"layers.{stage}.blocks.{number}", shift * (number % 2)
            x = _swinv2_block(x, state, name, count, size, moved, usual)
        if stage < len(heads) - 1:
            name = f"layers.{stage}.downsample"
            reduced = affine(merged_by_columns(x), state, f"{name}.reduction")
            x = normalised(reduced, state, f"{name}.norm", EPS)
    return normalised(x, state, "norm", EPS)


def classified(tokens: Tensor, state: State) -> Tensor:
    return affine(tokens.mean((1, 2)), state, "head")


def _stem(state: State, images: Tensor) -> Tensor:
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    return normalised(patch_tokens(images, weight, bias), state, "patch_embed.norm", EPS)


def _depth(state: State, stage: int) -> int:
    start = f"layers.{stage}.blocks."
    return 1 + max(int(name.split(".")[3]) for name in state if name.startswith(start))
