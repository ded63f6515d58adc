"""Where and how exactly a network runs: device names and the precision of a pass.

What belongs here: turning a name into a device, and contexts for one pass that put global switches
back. What does not: moving particular models.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.models.allocation import kept_pages

PRECISIONS = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def resolve_device(name: str | torch.device) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that exists here.

    Raises:
        UnknownNameError: no such kind of device.
        OptionError: this machine has none of that kind.
    """
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    # Apple's mps is not among them: the sums need float64, which it does not have.
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UnknownNameError("device", name, ("auto", "cpu", "cuda", "cuda:0"))
    available = 1 if kind == "cpu" else torch.cuda.device_count()
    if int(number or 0) >= available:
        raise OptionError(
            f"device {name!r} is not on this machine ({kind} devices: {available}); use 'cpu' or "
            "'auto'"
        )
    return torch.device(name)


@contextmanager
def exact_pass(device: torch.device, precision: str, *, gradients: bool = False) -> Iterator[None]:
    """Run a pass in the precision named, in inference mode unless it takes gradients.

    `float32` means float32: TensorFloat-32 is off for the time of the pass and put back after it.

    Raises:
        UnknownNameError: no such precision.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad() if gradients else torch.inference_mode())
        if precision != "float32":
            stack.enter_context(torch.autocast(device.type, dtype=PRECISIONS[precision]))
        for owner, name, exact in _float32_switches():
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, exact)
        yield


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Take no gradients of the parameters, which saves their memory; put the flags back."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        module.requires_grad_(requires_grad=False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _float32_switches() -> list[tuple[Any, str, str | bool]]:
    """List the switches that say how float32 products are taken, with their exact setting.

    PyTorch 2.9 added switches by operation, and refuses to read the old ones (which set both) once
    somebody has used a new one; then the new ones are the ones that count.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    try:
        _ = matmul.allow_tf32, cudnn.allow_tf32
    except RuntimeError:
        new: tuple[Any, ...] = (matmul, cudnn.conv, cudnn.rnn)
        return [(owner, "fp32_precision", "ieee") for owner in new]
    return [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


@contextmanager
def placed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Hold a network on a device in evaluation mode; put device and training modes back."""
    modes = [(part, part.training) for part in module.modules()]
    first = next(module.parameters(), None)
    home = device if first is None else first.device
    try:
        module.to(device).eval()
        with kept_pages(device):
            yield
    finally:
        module.to(home)
        for part, training in modes:
            part.training = training
