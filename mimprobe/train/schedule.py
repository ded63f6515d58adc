"""Learning rate by step, and which parameters decay.

What belongs here: pure functions of the step or of the parameters. What does not: the optimiser's
state.
"""

import math
from typing import Any

from torch import nn

from mimprobe.train.config import TrainConfig

STEP_FACTOR = 0.1
"""How much lower the rate of the `step` schedule is from its decay epoch on."""

NO_DECAY = (
    "token", "pos_embed", "relative_position_bias_table",  # ViT, BEiT, Swin
    "logit_scale", "cpb_mlp", "rel_pos",  # SwinV2, and timm's relative positions
)  # fmt: skip
"""Parts of the names of tables, tokens and scales, which do not decay whatever their shape."""


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Give the rate of the step after `step` steps: a linear warm-up, then the schedule.

    With warm-up W and length T in steps, peak p, start s and minimum m, all scaled to the batch:

        t < W:                  s + (p - s) t / W
        cosine:                 m + (p - m) (1 + cos(pi t / T)) / 2
        cosine-after-warmup:    m + (p - m) (1 + cos(pi (t - W) / (T - W))) / 2
        step:                   p, and 0.1 p from the decay epoch on

    `cosine` counts from the first step on as the original does, so it begins below the peak. The
    original takes each rate one step later than it computes it; that delay is not repeated here.

    Args:
        step: optimiser steps already taken, t.
        steps_per_epoch: optimiser steps in one pass over the images.
        config: rates, lengths and schedule.

    Source: SimMIM (arXiv 2111.09886), with the schedules of its published code.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    peak = config.peak_learning_rate
    if step < warmup:
        start = config.warmup_learning_rate * config.batch_scale
        return start + (peak - start) * step / warmup
    if config.schedule == "step":
        return peak * (STEP_FACTOR if step >= config.decay_epoch * steps_per_epoch else 1.0)
    begin = warmup if config.schedule == "cosine-after-warmup" else 0.0
    progress = (step - begin) / max(1.0, config.epochs * steps_per_epoch - begin)
    low = min(config.min_learning_rate * config.batch_scale, peak)
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(module: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split the parameters into those that decay (matrices, kernels) and those that do not.

    No decay on norms, biases, position embeddings, tokens, relative-position tables, and the
    logit scales and position networks of SwinV2, as in the SimMIM recipe. (The original lets the
    mask token of a ViT decay, and that of a Swin not; here none does.) An objective with groups of
    its own gives them by its `parameter_groups`; the rate of a group is `lr_scale` times the
    scheduled one.
    """
    own = getattr(module, "parameter_groups", None)
    if own is not None:
        groups: list[dict[str, Any]] = own(config)
        return groups
    decay: list[nn.Parameter] = []
    still: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (decay if decays(name, parameter) else still).append(parameter)
    return [
        {"params": decay, "weight_decay": config.weight_decay},
        {"params": still, "weight_decay": 0.0},
    ]


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Tell whether weight decay is for this parameter: a matrix or kernel that is no table."""
    leaves = name.split(".")
    spared = any(leaf.endswith(NO_DECAY) for leaf in leaves)
    return parameter.ndim > 1 and leaves[-1] != "bias" and not spared
