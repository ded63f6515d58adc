"""Learning rate by step, and which parameters decay.

What belongs here: pure functions of the step or of the parameters. What does not: the optimiser's
state.
"""

import math
from typing import Any

from torch import nn

from mimprobe.train.config import TrainConfig


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Warm up linearly to the peak, then follow half a cosine down to the minimum.

    Args:
        step: optimiser steps already taken.
        steps_per_epoch: optimiser steps in one pass over the images.
        config: peak, minimum, start and length of the warm-up.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    peak = config.peak_learning_rate
    if step < warmup:
        start = config.warmup_learning_rate
        return start + (peak - start) * step / warmup
    progress = (step - warmup) / max(1.0, total - warmup)
    low = min(config.min_learning_rate, peak)
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(module: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Split the parameters into those that decay (matrices, kernels) and those that do not.

    No decay on norms, biases, position embeddings and tokens, as in the SimMIM recipe. An objective
    with groups of its own gives them by its `parameter_groups`; the rate of a group is `lr_scale`
    times the scheduled one.
    """
    own = getattr(module, "parameter_groups", None)
    if own is not None:
        groups: list[dict[str, Any]] = own(config)
        return groups
    decay: list[nn.Parameter] = []
    still: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        lookup = leaf.endswith(("token", "pos_embed", "relative_position_bias_table"))
        (still if parameter.ndim <= 1 or lookup else decay).append(parameter)
    return [
        {"params": decay, "weight_decay": config.weight_decay},
        {"params": still, "weight_decay": 0.0},
    ]
