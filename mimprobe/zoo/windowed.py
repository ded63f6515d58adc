"""Swin and SwinV2, read off their tensors: windows and input size as far as stored tables tell.

What belongs here: everything about windows and stages. What does not: other families (`families`).
"""

import math
import re
from typing import Any

from torch import Tensor

from mimprobe.zoo.network import (
    Network,
    Tensors,
    classes_of,
    count_of,
    mlp_ratio_of,
    patches_of,
)


def swin(tensors: Tensors, raw: Tensors) -> Network:
    """Read a Swin; `raw` may hold the tables that the original code stores."""
    width, patch = patches_of(tensors)
    tables = _stages(tensors, "attn.relative_position_bias_table")
    windows = [(math.isqrt(table.shape[0]) + 1) // 2 for table in tables]
    stage_stride = patch * 2 ** (len(tables) - 1)
    seen = _map_of_first_stage(raw, windows[0])
    side = seen * patch or windows[-1] * stage_stride
    assumed: tuple[str, ...] = ()
    # Where the last map is smaller than a window, its window has shrunk to it, and tells its size.
    if not seen and windows[-1] == windows[0]:
        assumed = (f"an input of {side} px, at which the last map is one window",)
    _check_tables(raw, side // patch, windows[0])
    return Network(
        "swin_base_patch4_window7_224",
        _staged_arguments(tensors, width, patch, side, windows[0])
        | {"num_heads": tuple(table.shape[1] for table in tables)},
        width, (side, side), 0, tuple(table.shape[1] for table in tables), assumed=assumed,
    )  # fmt: skip


def swinv2(tensors: Tensors, raw: Tensors) -> Network:
    """Read a SwinV2; without stored tables several windows are possible."""
    width, patch = patches_of(tensors)
    heads = tuple(scale.shape[0] for scale in _stages(tensors, "attn.logit_scale"))
    stored = [
        table for name, table in raw.items()
        if name.endswith("layers.0.blocks.0.attn.relative_coords_table")
    ]  # fmt: skip
    stage_stride = patch * 2 ** (len(heads) - 1)

    def network(window: int, side: int) -> Network:
        _check_tables(raw, side // patch, window)
        arguments = _staged_arguments(tensors, width, patch, side, window) | {"num_heads": heads}
        told = f'{{"img_size": {side}, "window_size": {window}}}'
        return Network(
            "swinv2_base_window8_256", arguments, width, (side, side), 0, heads, told=told
        )

    if stored:
        window = (stored[0].shape[1] + 1) // 2
        seen = _map_of_first_stage(raw, window)
        return network(window, seen * patch if seen else window * stage_stride)
    first, *others = (network(*choice) for choice in ((8, 256), (16, 256), (12, 192)))
    return Network(
        first.architecture, first.arguments, width, first.input_size, 0, heads,
        others=tuple(others), told=first.told,
    )  # fmt: skip


def _staged_arguments(
    tensors: Tensors, width: int, patch: int, side: int, window: int
) -> dict[str, Any]:
    depths = [
        count_of(tensors, rf"^layers\.{stage}\.blocks\.(\d+)\.")
        for stage in range(count_of(tensors, r"^layers\.(\d+)\."))
    ]
    return {
        "img_size": side,
        "patch_size": patch,
        "window_size": window,
        "embed_dim": width,
        "depths": tuple(depths),
        "num_classes": classes_of(tensors, "head.fc.weight"),
        **mlp_ratio_of(tensors, "layers.0.blocks.0.mlp.fc1.weight", width),
    }


def _stages(tensors: Tensors, name: str) -> list[Tensor]:
    """Give a tensor of the first block of every stage."""
    count = count_of(tensors, r"^layers\.(\d+)\.")
    return [tensors[f"layers.{stage}.blocks.0.{name}"] for stage in range(count)]


def _check_tables(raw: Tensors, side: int, window: int) -> None:
    """Hold every stored table against the sizes that were read off the first ones."""
    for name, table in raw.items():
        stage = re.search(r"layers\.(\d+)\.blocks\.\d+\.", name)
        if stage is None:
            continue
        places = side // 2 ** int(stage[1])
        inside = min(places, window)
        expected = {
            "attn_mask": ((places // inside) ** 2, inside**2, inside**2),
            "relative_position_index": (inside**2, inside**2),
            "relative_coords_table": (1, 2 * inside - 1, 2 * inside - 1, 2),
        }.get(name.rpartition(".")[2])
        if expected and expected != tuple(table.shape):
            raise ValueError(f"{name} is {tuple(table.shape)}, where {expected} would fit")


def _map_of_first_stage(raw: Tensors, window: int) -> int:
    """Read the side of the first map off the stored shift mask, (windows, places, places)."""
    for name, mask in raw.items():
        if name.endswith("layers.0.blocks.1.attn_mask"):
            return math.isqrt(mask.shape[0]) * window
    return 0
