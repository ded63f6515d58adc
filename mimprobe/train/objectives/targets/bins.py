"""Bins of each colour channel as the target: three classifications for each pixel."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from mimprobe.shapes import Images, PixelErrors, Predictions
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.targets.colours import coarser, colours_of, finer, normalised


class Bins(nn.Module):
    """Each colour channel in equal parts, as in PixelRNN; the loss is the cross-entropy in nats."""

    def __init__(self, config: TrainConfig) -> None:
        """Take resolution and number of bins; logits stand bin by bin, then colour by colour."""
        super().__init__()
        self.scale, self.bins = config.target_scale, config.bins
        self.outputs = 3 * config.bins

    def classes(self, images: Images) -> Int[Tensor, "batch rgb target_row target_column"]:
        """Give `floor(bins x colour)` with colours from 0 to 1; the colour 1 is in the last bin."""
        colours = coarser(colours_of(images), self.scale)
        return (colours * self.bins).long().clamp(max=self.bins - 1)

    def errors(self, predicted: Predictions, images: Images) -> PixelErrors:
        """Give the cross-entropy of every pixel of the target, averaged over its three colours."""
        nats = nn.functional.cross_entropy(
            self._by_bin(predicted), self.classes(images), reduction="none"
        )
        return nats.mean(1)

    def picture(self, predicted: Predictions, images: Images) -> Images:  # noqa: ARG002
        """Give the middle of the likeliest bin of every colour."""
        likeliest = self._by_bin(predicted).argmax(1)
        middle = (likeliest.to(predicted.dtype) + 0.5) / self.bins
        return normalised(finer(middle, self.scale))

    def _by_bin(
        self, predicted: Predictions
    ) -> Float[Tensor, "batch bin rgb target_row target_column"]:
        return predicted.view(len(predicted), self.bins, 3, *predicted.shape[2:])
