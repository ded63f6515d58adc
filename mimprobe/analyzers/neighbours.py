"""Whether two layers see the same images beside each other, within a model and between models."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mimprobe.analyzers.layer_pairs import pair_table
from mimprobe.analyzers.pooled import PooledAnalyzer
from mimprobe.errors import OptionError
from mimprobe.measures.neighbours import nearest_neighbours, neighbour_overlap
from mimprobe.stream import BUDGET_BYTES
from mimprobe.tables import PAIR_COLUMNS

Overlaps = Float64[Tensor, "site other"]

TIED = "all images of one of the two layers have several k-th neighbours equally near"
"""Why there is no overlap where its value is empty."""


class MutualNeighbours(PooledAnalyzer):
    """Share of an image's nearest neighbours that two layers have in common."""

    name = "mutual_neighbours"
    columns = PAIR_COLUMNS
    units = {"mutual_neighbours": "1"}  # noqa: RUF012
    definition = (
        "mean over images of |N(i) & N'(i)| / k, with N(i) and N'(i) the k images nearest to image "
        "i by cosine similarity of the mean patch token in one layer and in the other; by chance "
        "k / (n - 1); images whose k-th and next neighbour are equally near are left out"
    )

    def __init__(self, *, k: int = 10, budget_bytes: int = BUDGET_BYTES) -> None:
        """Choose how many neighbours count.

        Raises:
            OptionError: none.
        """
        if k < 1:
            raise OptionError(f"k must be at least 1, not {k}")
        super().__init__(budget_bytes=budget_bytes)
        self.k = k
        self.least_images = k + 2  # with k + 1 all others are neighbours

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """One row for each ordered pair of layers, of the same model or of two."""
        if self.rows is None or not len(self.rows):
            return pd.DataFrame(columns=list(PAIR_COLUMNS))
        value, std, images = self._overlaps()
        table = pair_table(
            self.places, kinds, self.name, value, std / images.double().sqrt(), std=std,
            images=images,
        )  # fmt: skip
        table["note"] = table["note"].mask(table["value"].isna(), TIED)
        return table

    def _overlaps(self) -> tuple[Overlaps, Overlaps, Int64[Tensor, "site other"]]:
        """Mean, standard deviation and number of images of the overlap of every pair of layers."""
        assert self.rows is not None
        lists = [nearest_neighbours(self.rows.site(place.key), self.k) for place in self.places]
        value, std = torch.full((2, len(lists), len(lists)), torch.nan, dtype=torch.float64)
        count = torch.zeros(len(lists), len(lists), dtype=torch.int64)
        for row, first in enumerate(lists):
            for column in range(row + 1):
                overlap = neighbour_overlap(first, lists[column])
                known = overlap[overlap.isfinite()]
                count[row, column] = count[column, row] = len(known)
                value[row, column] = value[column, row] = known.mean()
                if len(known) > 1:
                    std[row, column] = std[column, row] = known.std()
        return value, std, count

    def describe(self) -> dict[str, Any]:
        """Definition, units, tokens, k, and the overlap that chance gives."""
        images = 0 if self.rows is None else len(self.rows)
        chance = {"chance": self.k / (images - 1)} if images > 1 else {}
        return super().describe() | {"k": self.k} | chance
