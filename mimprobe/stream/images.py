"""One number for each image and column, and what they are together.

What belongs here: remembering per-image values, whatever batches they come in. What does not:
what they measure (`measures`), and their names and units (`tables`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.stream.state import State


class SeenImages:
    """The indices of the images added so far, in the order in which they came."""

    def __init__(self) -> None:
        self._indices: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def add(self, images: Sequence[int], rows: int) -> None:
        """Add the images of one batch, which has this many rows of values.

        Raises:
            OptionError: another number of images than rows, or an image that was seen before.
        """
        if len(images) != rows:
            raise OptionError(f"{len(images)} image indices for {rows} rows of values")
        counts = Counter(images)
        repeated = [image for image in counts if counts[image] > 1 or image in self._indices]
        if repeated:
            raise OptionError(f"image {min(repeated)} was added twice; every image counts once")
        self._indices.update(dict.fromkeys(images))

    def indices(self) -> Int64[Tensor, "image"]:
        """Return the indices in the order in which they came."""
        return torch.tensor(list(self._indices), dtype=torch.int64)

    def state(self) -> State:
        """Give the indices in their order."""
        return {"indices": self.indices()}

    def restore(self, state: State) -> None:
        """Take over a state, in the place of what was seen here."""
        self._indices = dict.fromkeys(state["indices"].tolist())


@dataclass(frozen=True)
class Statistics:
    """Mean, standard deviation (n - 1), standard error and number of images, for each column."""

    mean: Float64[Tensor, "column"]
    std: Float64[Tensor, "column"]
    se: Float64[Tensor, "column"]
    n: Int64[Tensor, "column"]


class ImageValues:
    """Values of every image; equal bit for bit however the images were split and ordered.

    Sums would be smaller, but not independent of the order, and paired differences and bootstraps
    need the values anyway: 8 bytes for each image and column.
    """

    def __init__(self) -> None:
        self._seen = SeenImages()
        self._batches: list[Tensor] = []

    def add(self, images: Sequence[int], values: Float[Tensor, "batch column"]) -> None:
        """Remember the values of one batch; NaN where an image has none.

        Raises:
            OptionError: an image that was added before, or another number of columns or images.
        """
        if self._batches and self._batches[0].shape[1] != values.shape[1]:
            columns = self._batches[0].shape[1]
            raise OptionError(f"{values.shape[1]} columns after batches with {columns}")
        self._seen.add(images, len(values))
        self._batches.append(values.detach().to("cpu", torch.float64, copy=True))

    def merge(self, other: "ImageValues") -> None:
        """Add all that another accumulator remembers, which stays as it is.

        Raises:
            OptionError: an image that both have, or another number of columns.
        """
        if other._batches:
            self.add(other._seen.indices().tolist(), torch.cat(other._batches))

    def state(self) -> State:
        """Give all values, in the order in which they came."""
        if len(self._batches) > 1:  # joined once for good, so that storing does not double them
            self._batches = [torch.cat(self._batches)]
        values = self._batches[0] if self._batches else None
        return {"seen": self._seen.state(), "values": values}

    def restore(self, state: State) -> None:
        """Take over a state, in the place of what was remembered here."""
        self._seen.restore(state["seen"])
        self._batches = [] if state["values"] is None else [state["values"].clone()]

    def by_image(self) -> tuple[Int64[Tensor, "image"], Float64[Tensor, "image column"]]:
        """Return image indices in ascending order, and their values.

        Raises:
            OptionError: nothing was added.
        """
        if not self._batches:
            raise OptionError("no values were added")
        images, order = self._seen.indices().sort()
        return images, torch.cat(self._batches)[order]

    def statistics(self) -> Statistics:
        """Summarise each column over the images that have a value, in the order of their indices.

        With one image the deviation and error are NaN, with none the mean too.

        Raises:
            OptionError: nothing was added.
        """
        _, values = self.by_image()
        present = ~values.isnan()
        n = present.sum(0)
        mean = values.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf).sum(0) / n
        squares = torch.where(present, values - mean, 0.0).square().sum(0)
        std = torch.where(n > 1, squares / (n - 1), torch.nan).sqrt()
        return Statistics(mean, std, std / n.double().sqrt(), n)
