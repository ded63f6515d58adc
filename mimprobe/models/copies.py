"""Copies of networks: new modules around the same tensors, or around fresh ones.

What belongs here: what a copy shares with its original and what it leaves behind. What does not:
which blocks of the copy are changed (`surgery`).
"""

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mimprobe.errors import OptionError
from mimprobe.models.head_masks import masks_of

HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks",
    "_backward_pre_hooks",
)  # fmt: skip
"""Where a module keeps what others registered on it."""


def shared_copy(network: nn.Module) -> nn.Module:
    """Copy the modules of a network around its own parameters and buffers.

    Hooks stay with the original, but for masks of heads, which belong to the network.

    Raises:
        OptionError: the forward of a module is replaced at present, as while it is observed.
    """
    return _copied(network, lambda tensor: tensor)


def fresh_block(network: Any, path: str, seed: int) -> nn.Module:
    """Make a block anew, with weights as timm draws them for a new network of this class.

    The network's own `init_weights` is run on a copy in which all other tensors are without
    storage, so that only the block costs time; weights that it forgets would stay NaN. They are
    drawn in float32 on the CPU, and do not depend on where the network is.

    Args:
        network: whose block it is.
        path: of the block.
        seed: of the weights; torch's own generators are left alone.

    Raises:
        OptionError: timm leaves a weight of the block as it is.
    """
    block = network.get_submodule(path)
    own = {id(tensor) for tensor in (*block.parameters(), *block.buffers())}
    model: Any = _copied(network, lambda one: _undrawn(one, storage=id(one) in own))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model.init_weights()
    fresh: nn.Module = model.get_submodule(path)
    for (name, tensor), old in zip(fresh.named_parameters(), block.parameters(), strict=True):
        if tensor.isnan().any():
            raise OptionError(
                f"timm's {type(network).__name__} does not initialise {path}.{name}; its blocks "
                "cannot be reset"
            )
        tensor.data = tensor.data.to(old.device, old.dtype)
    for (name, _), old in zip(fresh.named_buffers(), block.buffers(), strict=True):
        _set_buffer(fresh, name, old.clone())  # computed from sizes, not learned
    return fresh


def _undrawn(tensor: Tensor, *, storage: bool) -> Tensor:
    """Give a tensor of the same shape, with NaN in place of weights, or without storage."""
    device = "cpu" if storage else "meta"
    if not isinstance(tensor, nn.Parameter):
        return torch.zeros_like(tensor, device=device)
    empty = torch.full(tensor.shape, torch.nan, dtype=torch.float32, device=device)
    return nn.Parameter(empty, requires_grad=tensor.requires_grad)


def _set_buffer(module: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, last = name.rpartition(".")
    module.get_submodule(path)._buffers[last] = tensor


def _copied(network: nn.Module, tensor_for: Callable[[Tensor], Tensor]) -> nn.Module:
    tensors = (*network.parameters(), *network.buffers())
    memo: dict[int, Any] = {id(tensor): tensor_for(tensor) for tensor in tensors}
    for path, part in network.named_modules():
        if "forward" in vars(part):
            raise OptionError(
                f"the forward of {path or 'the network'} is replaced at present, as while it is "
                "observed; change the network outside of that context"
            )
        for name in HOOKS:
            memo[id(getattr(part, name))] = OrderedDict[int, Any]()
        kept = OrderedDict[int, Any]((id(mask), mask) for mask in masks_of(part))
        memo[id(part._forward_pre_hooks)] = kept
    return deepcopy(network, memo)
