"""Layer-wise decay of the learning rate: the deeper a parameter lies, the faster it learns.

What belongs here: which layer a parameter counts to, and the scale of its rate. What does not: the
rate itself (`schedule`).

    rate of a parameter = scheduled rate x decay ^ (layers - 1 - id)

    id 0           patch embedding, class and register tokens, absolute positions
    id 1 to n      the n blocks, counted through all stages
    id n + 1       what comes after them: final norm, classifier, BEiT's shared relative positions

With n blocks there are n + 2 layers. Swin's down-sampling at the entrance of a stage has the id of
the last block before it. A block that was dropped counts no layer, so that what is left has the
rates of a network of that depth. Source: the authors' code for SimMIM (arXiv 2111.09886).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from timm.models import group_parameters
from torch import nn

from mimprobe.models.blocks import Dropped
from mimprobe.train.config import TrainConfig
from mimprobe.train.schedule import parameter_groups

STEM = (
    "patch_embed.", "cls_token", "reg_token", "dist_token", "mask_token", "pos_embed", "norm_pre.",
)  # fmt: skip
"""How the names of the first layer's parameters start."""


def layer_ids(network: nn.Module) -> tuple[dict[str, int], int]:
    """Give the layer of each parameter by its name, and the number of layers.

    Args:
        network: of timm. Plain ViTs, BEiT, Swin and SwinV2 are counted as above; any other one by
            timm's own grouping.
    """
    names = [name for name, _ in network.named_parameters()]
    stages: Any = getattr(network, "layers", None)
    if isinstance(getattr(network, "blocks", None), nn.Sequential | nn.ModuleList):
        ids = _block_ids([network.blocks])
        return {name: _vit_layer(name, ids[0]) for name in names}, ids[0][-1] + 2
    if stages is not None and hasattr(stages[0], "blocks"):
        ids = _block_ids([stage.blocks for stage in stages])
        return {name: _swin_layer(name, ids) for name in names}, ids[-1][-1] + 2
    matcher: Any = network.group_matcher(coarse=False)  # type: ignore[operator]
    found: Mapping[str, int] = group_parameters(network, matcher, reverse=True)
    return dict(found), max(found.values()) + 1


def layer_scales(decay: float, layers: int) -> list[float]:
    """Give the scale of the rate of each layer, from the first to the last, which has 1."""
    return [decay ** (layers - 1 - layer) for layer in range(layers)]


def decayed_groups(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split the groups of `schedule.parameter_groups` by layer; each gets its `lr_scale`."""
    layers, count = layer_ids(network)
    scales = layer_scales(config.layer_decay, count)
    layer_of = {id(parameter): layers[name] for name, parameter in network.named_parameters()}
    groups: dict[tuple[int, int], dict[str, Any]] = {}
    for number, group in enumerate(parameter_groups(network, config)):
        rest = {key: value for key, value in group.items() if key != "params"}
        for parameter in group["params"]:
            layer = layer_of[id(parameter)]
            entry = {"params": [], **rest, "lr_scale": scales[layer]}
            groups.setdefault((layer, number), entry)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _block_ids(stages: Sequence[Any]) -> list[list[int]]:
    """Give the layer of each block of each stage; a dropped one has that of the block before it."""
    there = [[not isinstance(block, Dropped) for block in blocks] for blocks in stages]
    starts = accumulate((sum(stage) for stage in there), initial=0)
    return [
        [start + count for count in accumulate(stage)]
        for start, stage in zip(starts, there, strict=False)
    ]


def _vit_layer(name: str, ids: Sequence[int]) -> int:
    if name.startswith(STEM):
        return 0
    return ids[int(name.split(".")[1])] if name.startswith("blocks.") else ids[-1] + 1


def _swin_layer(name: str, ids: Sequence[Sequence[int]]) -> int:
    if name.startswith(STEM):
        return 0
    if not name.startswith("layers."):
        return ids[-1][-1] + 1
    _, stage, part, block, *_ = name.split(".")
    if part == "blocks":
        return ids[int(stage)][int(block)]
    return ids[int(stage) - 1][-1] if int(stage) else 0
