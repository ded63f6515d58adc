"""What the network of a run expects of an image.

What belongs here: the choice, for training, evaluation and the weights file. What does not:
augmentation.
"""

from torch import nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.train.config import IMAGENET_MEAN, IMAGENET_STD, TrainConfig


def preprocessing_of(objective: nn.Module, config: TrainConfig) -> Preprocessing:
    """Give the objective's own preprocessing, or ImageNet's scale with the whole image."""
    own = getattr(objective, "preprocessing", None)
    if isinstance(own, Preprocessing):
        return own
    return Preprocessing(
        input_size=config.input_shape,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        crop_pct=1.0,
    )
