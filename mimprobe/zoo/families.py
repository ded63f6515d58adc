"""Which network a set of tensors belongs to, in timm's names: depth, width, patch, windows, heads.

What belongs here: one function for each family, from names and shapes to the arguments that build
the network. What does not: who wrote the file (`recognise`).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mimprobe.errors import CheckpointError

Tensors = Mapping[str, Tensor]

SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}


@dataclass(frozen=True)
class Network:
    """An architecture with its arguments.

    Attributes:
        architecture: name of a timm model, or of one in `zoo.build`.
        arguments: passed to it.
        width: of the first block's tokens.
        input_size: height and width of the input that it was made for.
        prefix_tokens: tokens before the patches.
        heads: of each block or stage, where the shapes tell.
        open_heads: numbers of heads that the shapes allow and custom knows; empty where they tell.
        others: further networks that fit equally well.
        told: in words, what tells this one from the others.
        assumed: what was taken from custom.
    """

    architecture: str
    arguments: Mapping[str, Any]
    width: int
    input_size: tuple[int, int]
    prefix_tokens: int = 0
    heads: tuple[int, ...] = ()
    open_heads: tuple[int, ...] = ()
    others: tuple["Network", ...] = ()
    told: str = ""
    assumed: tuple[str, ...] = ()


def network_of(tensors: Tensors, raw: Tensors) -> Network:
    """Read a network off its tensors.

    Args:
        tensors: in timm's names.
        raw: in the file's own names; the original Swin stores tables that timm computes, and these
            tell windows and input size.

    Raises:
        CheckpointError: of no known family.
    """
    for marks, read in _FAMILIES:
        if all(any(re.search(mark, name) for name in tensors) for mark in marks):
            try:
                return read(tensors, raw)
            except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
                raise CheckpointError(f"its tensors contradict each other ({error})") from error
    shown = ", ".join(sorted(tensors)[:4])
    raise CheckpointError(
        f"none of the known families (ViT, BEiT, Swin, SwinV2, ResNet) has such tensors: {shown}; "
        "name a timm model with arch= (--arch)"
    )


def _vit(tensors: Tensors, raw: Tensors) -> Network:  # noqa: ARG001
    width, patch = _patches(tensors)
    class_tokens = sum(name in tensors for name in ("cls_token", "dist_token"))
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    positions = tensors["pos_embed"].shape[1]
    counted = next(
        (n for n in (class_tokens + registers, class_tokens, 0) if _is_square(positions - n)), None
    )
    if counted is None:
        raise CheckpointError(
            f"its {positions} positions are no square grid; name the network with arch= and "
            'arch_args={"img_size": [height, width]} (--arch, --arch-args)'
        )
    side = math.isqrt(positions - counted) * patch
    distilled = "dist_token" in tensors
    size = SIZES.get(width, "base")
    arguments: dict[str, Any] = {
        "img_size": side,
        "patch_size": patch,
        "embed_dim": width,
        "depth": _count(tensors, r"^blocks\.(\d+)\."),
        "num_classes": _classes(tensors, "head.weight"),
        **_mlp_ratio(tensors, "blocks.0.mlp.fc1.weight", width),
    }
    if not distilled:
        pool = "avg" if "fc_norm.weight" in tensors else "token" if class_tokens else "avg"
        arguments |= {"class_token": bool(class_tokens), "global_pool": pool}
        arguments |= {} if class_tokens or "fc_norm.weight" in tensors else {"fc_norm": False}
        arguments |= {"reg_tokens": registers} if registers else {}
        arguments |= {"no_embed_class": True} if counted < class_tokens + registers else {}
        arguments |= {"qkv_bias": False} if "blocks.0.attn.qkv.bias" not in tensors else {}
        arguments |= {"init_values": 1e-5} if "blocks.0.ls1.gamma" in tensors else {}
        arguments |= {"pre_norm": True} if "norm_pre.weight" in tensors else {}
        arguments |= {"qk_norm": True} if "blocks.0.attn.q_norm.weight" in tensors else {}
    name = "deit_base_distilled_patch16_224" if distilled else f"vit_{size}_patch16_224"
    if name == "vit_huge_patch16_224":
        name = "vit_huge_patch14_224"
    return Network(
        name, arguments, width, (side, side), class_tokens + registers,
        open_heads=_plausible_heads(width),
    )  # fmt: skip


def _beit(tensors: Tensors, raw: Tensors) -> Network:  # noqa: ARG001
    width, patch = _patches(tensors)
    shared = "rel_pos_bias.relative_position_bias_table"
    own = "blocks.0.attn.relative_position_bias_table"
    table = tensors.get(shared, tensors.get(own))
    heads: tuple[int, ...] = ()
    if table is None:
        side = math.isqrt(tensors["pos_embed"].shape[1] - 1)
    else:
        side, heads = (math.isqrt(table.shape[0] - 3) + 1) // 2, (table.shape[1],)
    pooled = "fc_norm.weight" in tensors
    classes = _classes(tensors, "head.weight")
    arguments = {
        "img_size": side * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": _count(tensors, r"^blocks\.(\d+)\."),
        "num_classes": classes,
        "global_pool": "avg" if pooled else "token" if classes else "",
        "use_abs_pos_emb": "pos_embed" in tensors,
        "use_rel_pos_bias": own in tensors,
        "use_shared_rel_pos_bias": shared in tensors,
        "init_values": 0.1 if "blocks.0.gamma_1" in tensors else None,
        **_mlp_ratio(tensors, "blocks.0.mlp.fc1.weight", width),
    }
    if heads:
        arguments["num_heads"] = heads[0]
    name = "beit_large_patch16_224" if width == 1024 else "beit_base_patch16_224"
    return Network(
        name, arguments, width, (side * patch, side * patch), 1, heads,
        () if heads else _plausible_heads(width),
    )  # fmt: skip


def _swin(tensors: Tensors, raw: Tensors) -> Network:
    width, patch = _patches(tensors)
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


def _swinv2(tensors: Tensors, raw: Tensors) -> Network:
    width, patch = _patches(tensors)
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


def _resnet(tensors: Tensors, raw: Tensors) -> Network:  # noqa: ARG001
    layers = tuple(_count(tensors, rf"^layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in tensors
    width = tensors["conv1.weight"].shape[0]
    classes = {"num_classes": _classes(tensors, "fc.weight")}
    if width != 64:
        if (layers, bottleneck) != ((3, 4, 6, 3), True) or width % 64:
            raise CheckpointError(f"a ResNet {layers} with a stem of width {width} is not known")
        return Network("wide_resnet50", {"width": width // 64, **classes}, width, (224, 224))
    names: dict[tuple[tuple[int, ...], bool], str] = {
        ((2, 2, 2, 2), False): "resnet18", ((3, 4, 6, 3), False): "resnet34",
        ((3, 4, 6, 3), True): "resnet50", ((3, 4, 23, 3), True): "resnet101",
        ((3, 8, 36, 3), True): "resnet152",
    }  # fmt: skip
    if (layers, bottleneck) not in names:
        raise CheckpointError(f"a ResNet with {layers} blocks in its stages is not known")
    return Network(names[layers, bottleneck], classes, width, (224, 224))


_FAMILIES: tuple[tuple[tuple[str, ...], Callable[[Tensors, Tensors], Network]], ...] = (
    ((r"^layers\.0\.blocks\.0\.attn\.cpb_mlp\.",), _swinv2),
    ((r"^layers\.0\.blocks\.0\.attn\.relative_position_bias_table$",), _swin),
    ((r"^blocks\.0\.attn\.(q_bias|relative_position_bias_table)$",), _beit),
    ((r"^blocks\.0\.attn\.qkv\.weight$", r"^pos_embed$"), _vit),
    ((r"^conv1\.weight$", r"^layer1\.0\.conv1\.weight$"), _resnet),
)
"""Names that must all occur, and the reader; in the order in which they are tried."""


def _patches(tensors: Tensors) -> tuple[int, int]:
    """Give width and side of the patch embedding."""
    weight = tensors["patch_embed.proj.weight"]
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise CheckpointError(
            f"a patch embedding of shape {tuple(weight.shape)} is not known; name the network with "
            "arch= (--arch)"
        )
    return weight.shape[0], weight.shape[2]


def _staged_arguments(
    tensors: Tensors, width: int, patch: int, side: int, window: int
) -> dict[str, Any]:
    depths = [
        _count(tensors, rf"^layers\.{stage}\.blocks\.(\d+)\.")
        for stage in range(_count(tensors, r"^layers\.(\d+)\."))
    ]
    return {
        "img_size": side,
        "patch_size": patch,
        "window_size": window,
        "embed_dim": width,
        "depths": tuple(depths),
        "num_classes": _classes(tensors, "head.fc.weight"),
        **_mlp_ratio(tensors, "layers.0.blocks.0.mlp.fc1.weight", width),
    }


def _stages(tensors: Tensors, name: str) -> list[Tensor]:
    """Give a tensor of the first block of every stage."""
    count = _count(tensors, r"^layers\.(\d+)\.")
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


def _count(tensors: Tensors, pattern: str) -> int:
    """Count by the largest number that stands in names of a pattern."""
    found = {int(match[1]) for name in tensors if (match := re.match(pattern, name))}
    if found != set(range(len(found))):
        raise CheckpointError(f"the numbers in {pattern} have gaps: {sorted(found)}")
    return len(found)


def _classes(tensors: Tensors, name: str) -> int:
    return tensors[name].shape[0] if name in tensors else 0


def _mlp_ratio(tensors: Tensors, name: str, width: int) -> dict[str, float]:
    ratio = tensors[name].shape[0] / width
    return {} if ratio == 4 else {"mlp_ratio": ratio}


def _plausible_heads(width: int) -> tuple[int, ...]:
    """List the numbers of heads that leave each head 64 or 32 channels."""
    return tuple(width // size for size in (64, 32) if width % size == 0) or (1,)


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
