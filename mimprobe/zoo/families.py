"""Which network a set of tensors belongs to, in timm's names: depth, width, patch, windows, heads.

What belongs here: one function for each family, from names and shapes to the arguments that build
the network. What does not: who wrote the file (`recognise`).
"""

import math
import re
from collections.abc import Callable
from typing import Any

from mimprobe.errors import CheckpointError
from mimprobe.zoo.network import (
    Network,
    Tensors,
    classes_of,
    count_of,
    mlp_ratio_of,
    patches_of,
)
from mimprobe.zoo.windowed import swin, swinv2

SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}


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
    width, patch = patches_of(tensors)
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
        "depth": count_of(tensors, r"^blocks\.(\d+)\."),
        "num_classes": classes_of(tensors, "head.weight"),
        **mlp_ratio_of(tensors, "blocks.0.mlp.fc1.weight", width),
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
    width, patch = patches_of(tensors)
    shared = "rel_pos_bias.relative_position_bias_table"
    own = "blocks.0.attn.relative_position_bias_table"
    table = tensors.get(shared, tensors.get(own))
    heads: tuple[int, ...] = ()
    if table is None:
        side = math.isqrt(tensors["pos_embed"].shape[1] - 1)
    else:
        side, heads = (math.isqrt(table.shape[0] - 3) + 1) // 2, (table.shape[1],)
    pooled = "fc_norm.weight" in tensors
    classes = classes_of(tensors, "head.weight")
    arguments = {
        "img_size": side * patch,
        "patch_size": patch,
        "embed_dim": width,
        "depth": count_of(tensors, r"^blocks\.(\d+)\."),
        "num_classes": classes,
        "global_pool": "avg" if pooled else "token" if classes else "",
        "use_abs_pos_emb": "pos_embed" in tensors,
        "use_rel_pos_bias": own in tensors,
        "use_shared_rel_pos_bias": shared in tensors,
        "init_values": 0.1 if "blocks.0.gamma_1" in tensors else 0.0,  # timm drops None
        **mlp_ratio_of(tensors, "blocks.0.mlp.fc1.weight", width),
    }
    if heads:
        arguments["num_heads"] = heads[0]
    name = "beit_large_patch16_224" if width == 1024 else "beit_base_patch16_224"
    return Network(
        name, arguments, width, (side * patch, side * patch), 1, heads,
        () if heads else _plausible_heads(width),
    )  # fmt: skip


def _resnet(tensors: Tensors, raw: Tensors) -> Network:  # noqa: ARG001
    layers = tuple(count_of(tensors, rf"^layer{stage}\.(\d+)\.") for stage in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in tensors
    width = tensors["conv1.weight"].shape[0]
    classes = {"num_classes": classes_of(tensors, "fc.weight")}
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
    ((r"^layers\.0\.blocks\.0\.attn\.cpb_mlp\.",), swinv2),
    ((r"^layers\.0\.blocks\.0\.attn\.relative_position_bias_table$",), swin),
    ((r"^blocks\.0\.attn\.(q_bias|relative_position_bias_table)$",), _beit),
    ((r"^blocks\.0\.attn\.qkv\.weight$", r"^pos_embed$"), _vit),
    ((r"^conv1\.weight$", r"^layer1\.0\.conv1\.weight$"), _resnet),
)
"""Names that must all occur, and the reader; in the order in which they are tried."""


def _plausible_heads(width: int) -> tuple[int, ...]:
    """List the numbers of heads that leave each head 64 or 32 channels."""
    return tuple(width // size for size in (64, 32) if width % size == 0) or (1,)


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
