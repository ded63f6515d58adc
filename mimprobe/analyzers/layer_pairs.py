"""What the analyzers of pairs of layers have in common: where layers are, and the table of pairs.

What belongs here: layers of several models in one order. What does not: what is said of two layers.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from torch import Tensor

from mimprobe.models.sites import Layout
from mimprobe.tables import PAIR_COLUMNS


class Place(NamedTuple):
    """One layer of one model."""

    model: str
    site: str
    layer: int

    @property
    def key(self) -> str:
        """Both names in one string; a tab occurs in no site."""
        return f"{self.model}\t{self.site}"


def places_of(model: str, places: Layout, sites: Iterable[str]) -> tuple[Place, ...]:
    """Say at which layers of a model these sites stand."""
    return tuple(Place(model, site, places[site].layer) for site in sites)


def pair_table(
    places: tuple[Place, ...],
    kinds: Mapping[str, str],
    metric: str,
    value: Float64[Tensor, "site other_site"],
    se: Float64[Tensor, "site other_site"],
    *,
    std: Float64[Tensor, "site other_site"] | None = None,
    images: int | Int64[Tensor, "site other_site"],
    note: str = "",
) -> pd.DataFrame:
    """One row for each ordered pair of layers, of the same model or of two."""
    pairs = list(itertools.product(places, repeat=2))
    frame = pd.DataFrame(
        {
            "model": [one.model for one, _ in pairs],
            "kind": [kinds[one.model] for one, _ in pairs],
            "site": [one.site for one, _ in pairs],
            "layer": [one.layer for one, _ in pairs],
            "other_model": [other.model for _, other in pairs],
            "other_kind": [kinds[other.model] for _, other in pairs],
            "other_site": [other.site for _, other in pairs],
            "other_layer": [other.layer for _, other in pairs],
            "metric": metric,
            "unit": "1",
            "value": value.flatten().numpy(),
            "std": np.nan if std is None else std.flatten().numpy(),
            "se": se.flatten().numpy(),
            "n": images if isinstance(images, int) else images.flatten().numpy(),
            "note": note,
        }
    )
    return frame[list(PAIR_COLUMNS)]
