"""ResNet of bottlenecks written down from its paper, on nothing but a state dict.

Sources: ResNet (arXiv 1512.03385), with the stride in the 3 x 3 convolution as torchvision, MoCo
and SimCLR have it. Width and depth are those of the state.
"""

from torch import Tensor
from torch.nn import functional as F
from zoo.sources.plain_vit import State, affine

EPS = 1e-5


def _normed(x: Tensor, state: State, name: str) -> Tensor:
    """Batch normalisation with the running statistics."""
    scale = state[f"{name}.weight"] * (state[f"{name}.running_var"] + EPS).rsqrt()
    shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _bottleneck(x: Tensor, state: State, name: str, stride: int) -> Tensor:
    y = _normed(F.conv2d(x, state[f"{name}.conv1.weight"]), state, f"{name}.bn1").clamp(min=0)
    y = F.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1)
    y = _normed(y, state, f"{name}.bn2").clamp(min=0)
    y = _normed(F.conv2d(y, state[f"{name}.conv3.weight"]), state, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in state:
        x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
        x = _normed(x, state, f"{name}.downsample.1")
    return (x + y).clamp(min=0)


def resnet(state: State, images: Tensor) -> Tensor:
    """(batch, channels, rows, columns) after the last stage."""
    x = F.conv2d(images, state["conv1.weight"], stride=2, padding=3)
    x = _normed(x, state, "bn1").clamp(min=0)
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for stage in range(1, 5):
        number = 0
        while f"layer{stage}.{number}.conv1.weight" in state:
            stride = 2 if stage > 1 and number == 0 else 1
            x = _bottleneck(x, state, f"layer{stage}.{number}", stride)
            number += 1
    return x


def classified(features: Tensor, state: State) -> Tensor:
    return affine(features.mean((2, 3)), state, "fc")
