"""Layer-wise decay of the learning rate: the deeper a parameter lies, the faster it learns.

What belongs here: which layer a parameter counts to, and the scale of its rate. What does not: the
rate itself (`schedule`).

    rate of a parameter = scheduled rate x decay ^ (layers - 1 - id)

    id 0           patch embedding, class and register tokens, absolute positions
    id 1 to n      the n blocks, counted through all stages
    id n + 1       what comes after them: final norm, classifier, BEiT's shared relative positions

With n blocks there are n + 2 layers. Swin's down-sampling at the entrance of a stage has the id of
the last block before it. Source: the authors' code for SimMIM (arXiv 2111.09886).
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from timm.models import group_parameters
from torch import nn

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
        blocks: Any = network.blocks
        count = len(blocks)
        return {name: _vit_layer(name, count) for name in names}, count + 2
    if stages is not None and hasattr(stages[0], "blocks"):
        depths = [len(stage.blocks) for stage in stages]
        return {name: _swin_layer(name, depths) for name in names}, sum(depths) + 2
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


def _vit_layer(name: str, blocks: int) -> int:
    if name.startswith(STEM):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else blocks + 1


def _swin_layer(name: str, depths: Sequence[int]) -> int:
    if name.startswith(STEM):
        return 0
    if not name.startswith("layers."):
        return sum(depths) + 1
    _, stage, part, block, *_ = name.split(".")
    before = [0, *accumulate(depths)][int(stage)]
    return before + int(block) + 1 if part == "blocks" else before
