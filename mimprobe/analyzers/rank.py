"""How many directions the features of a layer fill, and how fast they fall off."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mimprobe.analyzers.layer_pairs import Place
from mimprobe.analyzers.pooled import PooledAnalyzer
from mimprobe.stream import BUDGET_BYTES, spectrum
from mimprobe.tables import CURVE_COLUMNS

SHOWN = 48
"""Points of a spectrum that a table holds, evenly spaced on a logarithmic axis."""


class EffectiveRank(PooledAnalyzer):
    """RankMe of the mean patch tokens, and the spectrum of their singular values."""

    name = "effective_rank"
    columns = CURVE_COLUMNS
    least_images = 4
    units = {"effective_rank": "1", "singular_value": "1"}  # noqa: RUF012
    definition = (
        "exp of the entropy of p_k = s_k / sum s, with s_k the singular values of the matrix of "
        "images x mean patch token{centred}; singular_value is p_k at index k; at most the number "
        "of images; standard error by jackknife over groups of images, too large "
        "for fewer images than about 50"
    )

    def __init__(self, *, centred: bool = True, budget_bytes: int = BUDGET_BYTES) -> None:
        """Choose whether the mean over images is subtracted first; RankMe as published does not."""
        super().__init__(budget_bytes=budget_bytes)
        self.centred = centred

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """One row for each layer's rank, and for each point of its spectrum."""
        frames = [pd.DataFrame(columns=list(CURVE_COLUMNS))]
        if self.rows is not None and len(self.rows):
            frames = [self._layer(place, kinds[place.model]) for place in self.places]
        table = pd.concat(frames, ignore_index=True)
        table["head"] = table["head"].astype("Int64")
        return table

    def _layer(self, place: Place, kind: str) -> pd.DataFrame:
        assert self.rows is not None
        found = spectrum(self.rows.site(place.key), centred=self.centred)
        at = spread_indices(len(found.shares))
        points = len(at)
        frame = pd.DataFrame(
            {
                "metric": ["effective_rank"] + ["singular_value"] * points,
                "value": [found.rank.item(), *found.shares[at - 1].tolist()],
                "se": [found.rank_se.item(), *found.shares_se[at - 1].tolist()],
                "at": [np.nan, *at.tolist()],
            }
        )
        frame["model"], frame["kind"] = place.model, kind
        frame["site"], frame["layer"], frame["head"] = place.site, place.layer, pd.NA
        frame["unit"], frame["std"], frame["n"] = "1", np.nan, len(self.rows)
        return frame[list(CURVE_COLUMNS)]

    def describe(self) -> dict[str, Any]:
        """Definition, units, tokens, and whether the mean is subtracted."""
        centred = ", less their mean over images" if self.centred else ""
        definition = self.definition.format(centred=centred)
        return super().describe() | {"definition": definition, "centred": self.centred}


def spread_indices(count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Choose indices from 1 to `count`: all of a few, else about `SHOWN` of them."""
    if count <= SHOWN:
        return np.arange(1, count + 1)
    return np.unique(np.geomspace(1, count, SHOWN).round().astype(np.int64))
