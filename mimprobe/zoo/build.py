"""Networks without weights: timm's by name, and the few that checkpoints need beside them.

What belongs here: from a name and arguments to an untrained network. What does not: weights.
"""

from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from mimprobe.errors import CheckpointError, UnknownNameError

UNBUILDABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What timm raises for arguments that make no network."""


def create(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build an untrained network.

    Args:
        architecture: name of a timm model, or one of `OWN`.
        arguments: passed to it.

    Raises:
        UnknownNameError: no network of that name.
        CheckpointError: it does not take these arguments.
    """
    base = architecture.split(".")[0]
    known = base in OWN or timm.is_model(base.removeprefix("hf-hub:"))
    if not known:
        raise UnknownNameError("timm model", architecture, [*timm.list_models(), *OWN])
    make: Callable[..., nn.Module] = OWN.get(base) or (
        lambda **given: timm.create_model(architecture, pretrained=False, **given)
    )
    # JSON and TOML have no tuples; timm compares and adds some of these.
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    try:
        network: nn.Module = make(**given)
    except UNBUILDABLE as error:
        raise CheckpointError(
            f"timm cannot build {architecture} with {dict(arguments)}: "
            f"{(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    return network


def count_parameters(architecture: str, arguments: Mapping[str, Any]) -> int:
    """Count the parameters of a network without making room for them."""
    with torch.device("meta"):
        module = create(architecture, arguments)
    return sum(parameter.numel() for parameter in module.parameters())


def wide_resnet50(*, width: int, **arguments: Any) -> nn.Module:
    """SimCLR's ResNet-50 with every layer `width` times as wide, the stem included.

    timm widens the stem of its deep variants only: one of them is built, and its three small
    convolutions replaced by the plain one. Source: SimCLR (arXiv 2002.05709), appendix B.
    """
    channels = tuple(width * planes for planes in (64, 128, 256, 512))
    network: nn.Module = ResNet(
        block=Bottleneck, layers=(3, 4, 6, 3), channels=channels, stem_type="deep",
        stem_width=32 * width, **arguments,
    )  # fmt: skip
    network.conv1 = nn.Conv2d(3, 64 * width, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


OWN: dict[str, Callable[..., nn.Module]] = {"wide_resnet50": wide_resnet50}
"""Networks that timm cannot build by name."""
