"""Between the normalised space of a network's input and colours from 0 to 1.

What belongs here: colours and resolutions, which several targets share. What does not: losses.
"""

from jaxtyping import Float
from torch import Tensor, nn

from mimprobe.shapes import Images, TargetColours
from mimprobe.train.config import IMAGENET_MEAN, IMAGENET_STD


def colours_of(images: Images) -> Images:
    """Undo ImageNet's normalisation: red, green and blue between 0 and 1."""
    mean, std = _moments(images)
    return (images * std + mean).clamp(0, 1)


def normalised(colours: Images) -> Images:
    """Apply ImageNet's normalisation to colours between 0 and 1."""
    mean, std = _moments(colours)
    return (colours - mean) / std


def coarser(images: Images, scale: int) -> TargetColours:
    """Average over squares of `scale` x `scale` pixels."""
    return nn.functional.avg_pool2d(images, scale)


def finer(images: TargetColours, scale: int) -> Images:
    """Repeat every pixel `scale` x `scale` times."""
    return images.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def _moments(like: Tensor) -> tuple[Float[Tensor, "rgb 1 1"], Float[Tensor, "rgb 1 1"]]:
    mean, std = (like.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std
