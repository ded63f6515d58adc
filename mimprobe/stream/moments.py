"""Mean and spread of columns that are too many to keep for every image.

What belongs here: running moments of float64 columns. What does not: values that a paired
comparison needs image by image (`stream.images`).

For a column with values in n images, mean m and S = sum (x - m)^2, two sets of images join exactly
(Chan, Golub and LeVeque, The American Statistician 1983, equation 2.1): with d = m_b - m_a,

    n = n_a + n_b        m = m_a + d n_b / n        S = S_a + S_b + d^2 n_a n_b / n
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.stream.images import SeenImages, Statistics
from mimprobe.stream.state import State


@dataclass(frozen=True)
class _Moments:
    """The n, m and S of the module's derivation."""

    n: Int64[Tensor, "column"]
    mean: Float64[Tensor, "column"]
    squares: Float64[Tensor, "column"]

    def joined(self, other: "_Moments") -> "_Moments":
        """Give the moments of both sets of images together."""
        n = self.n + other.n
        gap, share = other.mean - self.mean, other.n.double() / n.clamp_min(1)
        between = gap.square() * self.n * share
        return _Moments(n, self.mean + gap * share, self.squares + other.squares + between)


COLUMNS_AT_ONCE = 1 << 14
"""A batch is summed up in pieces of so many columns, whose temporaries stay small."""


class Moments:
    """Mean, standard deviation and standard error of every column, in 24 bytes for each.

    The images' values are not kept, only their indices. Equal to rounding (1e-12) however the
    images were split, ordered and merged.
    """

    def __init__(self) -> None:
        self._seen = SeenImages()
        self._moments: _Moments | None = None

    def add(self, images: Sequence[int], values: Float[Tensor, "batch column"]) -> None:
        """Take in the values of one batch; NaN where an image has none.

        Raises:
            OptionError: an image that was added before, or another number of columns or images.
        """
        self._require_columns(values.shape[1])
        self._seen.add(images, len(values))
        parts: tuple[Tensor, ...] = torch.split(values.detach().cpu(), COLUMNS_AT_ONCE, dim=1)
        self._take(_side_by_side([_moments_of(part.double()) for part in parts]))

    def merge(self, other: "Moments") -> None:
        """Take in all that another accumulator remembers, which stays as it is.

        Raises:
            OptionError: an image that both have, or another number of columns.
        """
        if other._moments is not None:
            self._require_columns(len(other._moments.n))
            self._seen.add(other._seen.indices().tolist(), len(other._seen))
            self._take(other._moments)

    def state(self) -> State:
        """Give the indices of the images, and the moments."""
        kept = self._moments
        moments = None if kept is None else (kept.n, kept.mean, kept.squares)
        return {"seen": self._seen.state(), "moments": moments}

    def restore(self, state: State) -> None:
        """Take over a state, in the place of what was remembered here."""
        self._seen.restore(state["seen"])
        self._moments = None if state["moments"] is None else _Moments(*state["moments"])

    def statistics(self) -> Statistics:
        """Summarise each column over the images that have a value.

        With one image the deviation and error are NaN, with none the mean too.

        Raises:
            OptionError: nothing was added.
        """
        if self._moments is None:
            raise OptionError("no values were added")
        n, squares = self._moments.n, self._moments.squares
        mean = self._moments.mean.masked_fill(n == 0, torch.nan)
        std = torch.where(n > 1, squares / (n - 1), torch.nan).sqrt()
        return Statistics(mean, std, std / n.double().sqrt(), n)

    def _take(self, more: _Moments) -> None:
        self._moments = more if self._moments is None else self._moments.joined(more)

    def _require_columns(self, columns: int) -> None:
        if self._moments is not None and columns != len(self._moments.n):
            raise OptionError(f"{columns} columns after batches with {len(self._moments.n)}")


def _side_by_side(parts: Sequence[_Moments]) -> _Moments:
    return _Moments(
        torch.cat([part.n for part in parts]),
        torch.cat([part.mean for part in parts]),
        torch.cat([part.squares for part in parts]),
    )


def _moments_of(values: Float64[Tensor, "batch column"]) -> _Moments:
    """Sum up the values of some images; columns without any have n = 0 and mean 0."""
    present = ~values.isnan()
    n = present.sum(0)
    mean = torch.where(present, values, 0.0).sum(0) / n.clamp_min(1)
    return _Moments(n, mean, torch.where(present, values - mean, 0.0).square().sum(0))
