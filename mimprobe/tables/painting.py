"""Images with hidden patches and what a network painted there, as arrays.

What belongs here: the record of reconstructions. What does not: making them
(`experiments.reconstruction`) and drawing them (`figures.reconstruction`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.float32]
"""Image x height x width x 3, between 0 and 1."""

GREY = 0.5
"""What a hidden pixel looks like."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Some images, their masks, and what one network predicts from the visible patches.

    Attributes:
        model: name of the network.
        kind: how it was trained.
        masking: which masks, for a title.
        ids: names of the images.
        pictures: as the network would see them without a mask.
        mask: image x row x column of the patch grid, True where hidden.
        output: what the network predicts of all pixels, cut off at 0 and 1.
        error: for each image, the mean of |x - x'| over hidden pixels and colours, in the
            normalised units of the network's input: SimMIM's loss of that image.
    """

    model: str
    kind: str
    masking: str
    ids: tuple[str, ...]
    pictures: Pictures
    mask: npt.NDArray[np.bool_]
    output: Pictures
    error: npt.NDArray[np.float64]

    @property
    def hidden(self) -> npt.NDArray[np.bool_]:
        """Image x height x width, True where a pixel is hidden."""
        down = self.pictures.shape[1] // self.mask.shape[1]
        across = self.pictures.shape[2] // self.mask.shape[2]
        return self.mask.repeat(down, axis=1).repeat(across, axis=2)

    @property
    def masked(self) -> Pictures:
        """The pictures with hidden pixels in grey."""
        return np.where(self.hidden[..., None], np.float32(GREY), self.pictures)

    @property
    def pasted(self) -> Pictures:
        """The output in hidden pixels, the picture elsewhere."""
        return np.where(self.hidden[..., None], self.output, self.pictures)

    def only(self, images: Sequence[int]) -> "Reconstruction":
        """Take some of the images."""
        chosen = list(images)
        return replace(
            self, ids=tuple(self.ids[i] for i in chosen), pictures=self.pictures[chosen],
            mask=self.mask[chosen], output=self.output[chosen], error=self.error[chosen],
        )  # fmt: skip
