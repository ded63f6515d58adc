"""The effective receptive field of one model: its gradients, sums over images, and rows.

What belongs here: what is remembered of a model's images. What does not: numbers of a gradient
(`measures.receptive`), and the loop over models and images (`receptive_field`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mimprobe.errors import NonFiniteError, OptionError
from mimprobe.hooks import capture
from mimprobe.measures.receptive import contribution, side_error, square_shares, square_side
from mimprobe.models.geometry import Geometry
from mimprobe.models.sites import Layout, Site
from mimprobe.tables import PIXEL_COLUMNS
from mimprobe.zoo.loaded import LoadedModel

SHARES = (0.2, 0.3, 0.5, 0.99)
"""Parts of the contribution whose squares are given: those of RepLKNet's table 9."""


class Field:
    """The receptive field of one model: sums over its images, and a curve for each of them."""

    def __init__(self, model: LoadedModel, places: Layout, layer: int | None, part: str) -> None:
        """Choose the layer.

        Raises:
            OptionError: the model has no such layer.
        """
        depth = len(places.feature_sites)
        if layer is not None and not 0 <= layer < depth:
            raise OptionError(
                f"model {model.name!r} has {depth} layers, so there is no layer {layer + 1}; "
                f"choose 1 to {depth} (in Python 0 to {depth - 1})"
            )
        self.model, self.places, self.part = model, places, part
        self.site: Site = places[places.feature_sites[-1 if layer is None else layer]]
        self.sums = torch.zeros((), dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)
        self.curves: list[Tensor] = []
        self.sides = torch.zeros(0)
        self.middle = (0.0, 0.0)

    def add(self, pixels: Tensor, ids: Sequence[str]) -> None:
        """Show a batch to the network and remember each image's contribution.

        Raises:
            NonFiniteError: a gradient holds NaN or infinity.
        """
        gradient, geometry = self._gradient(pixels)
        finite = gradient.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            raise NonFiniteError(
                f"model {self.model.name!r} gave NaN or infinity in the gradient of "
                f"{self.site.name} on image {ids[int(finite.int().argmin())]!r}"
            )
        shares = contribution(gradient, self.part)
        shares = shares[~shares.isnan().flatten(1).any(1)].cpu()  # of images with any gradient
        self.middle = middle(geometry, self.places)
        curves, self.sides = square_shares(shares, self.middle)
        self.curves.append(curves)
        self.sums = self.sums + shares.sum(0)
        self.squares = self.squares + shares.square().sum(0)

    def _gradient(self, pixels: Tensor) -> tuple[Tensor, Geometry]:
        pixels = pixels.clone().requires_grad_()
        name = self.site.name
        with capture(self.model.module, [name], gradients=True) as captured:
            self.model.module(pixels)
            seen = captured[name]
            row, column = (side // 2 for side in seen.geometry.grid)
            token = seen.geometry.prefix_tokens + row * seen.geometry.grid[1] + column
            features = torch.relu(seen.tokens[:, token]).sum()
            captured.clear()
            (gradient,) = torch.autograd.grad(features, pixels)
        return gradient, seen.geometry

    def table(self, seed: int) -> pd.DataFrame:
        """Give the map's rows, then a row for each square."""
        curves = torch.cat(self.curves)
        n = len(curves)
        mean = self.sums / n
        spread = (self.squares - n * mean.square()).clamp_min(0)
        std = (spread / (n - 1)).sqrt() if n > 1 else torch.full_like(mean, torch.nan)
        table = pd.concat(
            [_pixel_rows(mean, std, n), self._square_rows(curves, seed)], ignore_index=True
        )
        table["model"], table["kind"] = self.model.name, self.model.kind
        table["site"], table["layer"] = self.site.name, self.site.layer
        table["n"], table["note"] = n, ""
        return table[list(PIXEL_COLUMNS)]

    def _square_rows(self, curves: Tensor, seed: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "row": self.middle[0], "column": self.middle[1], "share": SHARES,
                "metric": "square_side", "unit": "px",
                "value": [self._side(curves, share) for share in SHARES], "std": np.nan,
                "se": [side_error(curves, self.sides, share, seed=seed) for share in SHARES],
            }
        )  # fmt: skip

    def _side(self, curves: Tensor, share: float) -> float:
        if not len(curves):
            return float("nan")
        return float(square_side(curves.mean(0), self.sides, share))


def _pixel_rows(mean: Tensor, std: Tensor, n: int) -> pd.DataFrame:
    rows, columns = np.indices(mean.shape, dtype=float)
    return pd.DataFrame(
        {
            "row": rows.ravel(), "column": columns.ravel(), "share": np.nan,
            "metric": "contribution", "unit": "1", "value": mean.flatten().numpy(),
            "std": std.flatten().numpy(), "se": std.flatten().numpy() / np.sqrt(n or 1),
        }
    )  # fmt: skip


def middle(geometry: Geometry, places: Layout) -> tuple[float, float]:
    """Give row and column, in pixels, over which the middle place of the map stands.

    Patches stand over their middle. Place i of a ResNet stands over pixel i * stride, since all its
    convolutions have odd sides and are padded alike on both.
    """
    indices = [side // 2 for side in geometry.grid]
    if places.reading.patch is None:
        row, column = (index * step for index, step in zip(indices, geometry.stride, strict=True))
        return float(row), float(column)
    row_px, column_px = (
        (index + 0.5) * step - 0.5 for index, step in zip(indices, geometry.stride, strict=True)
    )
    return row_px, column_px
