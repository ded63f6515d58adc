"""One network in several processes: copied (DDP) or shared out (FSDP).

What belongs here: wrapping a network, and its state as whole tensors. What does not: who the
processes are (`loop.processes`).

PyTorch's own classes are used and not those of Lightning Fabric: Fabric refuses FSDP and float16
on a CPU, where the tests run them, and sets up a group of its own beside `loop.processes`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from mimprobe.loop.processes import Processes


class LossParts(nn.Module):
    """An objective as numerator and denominator of its loss, both of shape ().

    Only sums can be added up over processes and parts of a batch: with masks of varying count the
    mean of means is another number. An objective without `loss_parts` averages over images.
    """

    def __init__(self, objective: nn.Module) -> None:
        """Wrap an objective, whose parameters stay its own."""
        super().__init__()
        self.objective: Any = objective
        self.parted = hasattr(objective, "loss_parts")

    def forward(self, images: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """Give `(sum, count)`, whose quotient is the loss."""
        if self.parted:
            total, count = self.objective.loss_parts(images, extra)
            return total, torch.as_tensor(count, device=total.device)
        count = torch.tensor(len(images), device=images.device)
        return self.objective(images, extra) * count, count


def spread(
    parts: LossParts, group: Processes, device: torch.device, kind: str,
    example: Callable[[], tuple[Tensor, Tensor]],
) -> nn.Module:  # fmt: skip
    """Prepare a network for the processes of a group: `ddp` or `fsdp`; alone it stays as it is.

    Args:
        parts: the network, with equal weights in every process.
        group: the processes.
        device: of this process.
        kind: `ddp` or `fsdp`.
        example: makes one image and what its objective adds, in a batch of one.
    """
    if group.size == 1:
        return parts
    if kind == "fsdp":
        mesh = init_device_mesh(device.type, (group.size,))
        for block in blocks_of(parts):
            fully_shard(block, mesh=mesh)
        fully_shard(parts, mesh=mesh)  # in its place
        return parts
    unused = _unused(parts, example())  # for whose gradients it would wait
    for parameter in unused:
        parameter.requires_grad = False
    places = [device] if device.type == "cuda" else None
    network = DistributedDataParallel(parts, device_ids=places)
    for parameter in unused:
        parameter.requires_grad = True
    return network


def is_sharded(network: nn.Module) -> bool:
    """Tell whether each process holds a share of the parameters only."""
    return isinstance(network, FSDPModule)


def unsynchronised(network: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
    """Give the context of one part of a batch: gradients travel with the last part only."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(last)
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()


def whole(state: Any) -> Any:
    """Give a state on the CPU with whole tensors in place of shares; all processes take part."""

    def gathered(tensor: Tensor) -> Tensor:
        full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return full.detach().cpu()

    return tree_map_only(Tensor, gathered, state)


def shared_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Give this process its share of a whole tensor, where `like` is shared out."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    share: Tensor = distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return share


def restore_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole tensors into a network, which may be shared out."""
    own = module.state_dict()
    module.load_state_dict(
        {
            name: shared_out(tensor, own[name]) if name in own else tensor
            for name, tensor in weights.items()
        }
    )


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state of whole tensors into an optimiser whose parameters may be shared out."""
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        number: {
            name: shared_out(value, ordered[number]) if isinstance(value, Tensor) else value
            for name, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """List the blocks of an encoder, which timm keeps in lists called `blocks`."""
    return [
        block
        for name, part in network.named_modules()
        if name.rpartition(".")[2] == "blocks"
        for block in part.children()
    ]


def _unused(parts: LossParts, example: tuple[Tensor, Tensor]) -> list[nn.Parameter]:
    """List the parameters on which no loss depends, such as a norm that only a classifier needs."""
    parameters = [parameter for parameter in parts.parameters() if parameter.requires_grad]
    total, _ = parts(*example)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return [parameter for parameter, gradient in pairs if gradient is None]
