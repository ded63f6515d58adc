"""Raw pixels as the target: SimMIM's own."""

from collections.abc import Callable

from torch import Tensor, nn

from mimprobe.shapes import Images, PixelErrors, Predictions
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.targets.colours import coarser, finer
from mimprobe.train.objectives.targets.windowed import (
    EPSILON,
    moments_in_windows,
    normalised_in_windows,
)

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda predicted, wanted: (predicted - wanted).abs(),
    "l2": lambda predicted, wanted: (predicted - wanted) ** 2,
    "smooth_l1": lambda predicted, wanted: nn.functional.smooth_l1_loss(
        predicted, wanted, reduction="none"
    ),
}
"""By the name in `TrainConfig.loss`; smooth L1 turns from square to straight at 1."""


class Pixels(nn.Module):
    """The input in its normalised space, or normalised again by the pixels around each pixel."""

    outputs = 3

    def __init__(self, config: TrainConfig) -> None:
        """Take resolution, window and distance."""
        super().__init__()
        self.scale, self.window = config.target_scale, config.norm_window
        self.distance = DISTANCES[config.loss]

    def errors(self, predicted: Predictions, images: Images) -> PixelErrors:
        """Give the distance of every pixel of the target, averaged over its three colours."""
        wanted = normalised_in_windows(images, self.window) if self.window else images
        return self.distance(predicted, coarser(wanted, self.scale)).mean(1)

    def picture(self, predicted: Predictions, images: Images) -> Images:
        """Give the predicted image; a window's mean and spread are those of the true image."""
        whole = finer(predicted, self.scale)
        if not self.window:
            return whole
        mean, variance = moments_in_windows(images, self.window)
        return whole * (variance + EPSILON).sqrt() + mean
