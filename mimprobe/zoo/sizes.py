"""Another input size than the usual one: what changes in a network's arguments and preprocessing.

What belongs here: sizes before the network is built. What does not: resizing tensors (`fill`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timm.models.resnet import ResNet
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.models.convolutions import CONVOLUTIONAL

SIZELESS = (ResNet, *CONVOLUTIONAL)
"""Networks of convolutions, which take any input as they are."""


def arguments_at(
    usual: nn.Module, arguments: Mapping[str, Any], input_size: int | None
) -> dict[str, Any]:
    """Give the arguments for an input of `input_size` px; None keeps the usual size.

    Args:
        usual: the network as these arguments build it.
        arguments: of the network.
        input_size: side of the input.
    """
    if input_size is None or isinstance(usual, SIZELESS):
        return dict(arguments)
    changed = {**arguments, "img_size": input_size}
    if isinstance(usual, SwinTransformerV2):
        # Its position network takes coordinates relative to the window that it was trained with.
        stages: Any = usual.layers
        trained = tuple(stage.blocks[0].window_size[0] for stage in stages)
        changed.setdefault("pretrained_window_sizes", trained)
    return changed


def preprocessing_at(usual: Preprocessing, input_size: int | None) -> Preprocessing:
    """Give the preprocessing for an input of `input_size` px, with the crop's share kept."""
    return usual if input_size is None else replace(usual, input_size=(input_size, input_size))
