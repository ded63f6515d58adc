"""Attention of one image, as arrays between measuring and drawing.

What belongs here: the record of maps over one picture. What does not: making them
(`experiments.overlay`) and drawing them (`figures.overlay`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Query = tuple[int, int] | str
"""Row and column of a patch of the network's finest grid, `cls`, or `mean` over all patches."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """How much of one query's attention goes to each patch.

    Attributes:
        layer: counted from 0.
        head: counted from 0; None for a rollout, which has no heads.
        query: what was asked for.
        mass: by row and column of the layer's grid; NaN where the query cannot look.
        stride: height and width of a patch in pixels of the picture.
        patch: row and column of the query in that grid; None for `cls` and `mean`.
        elsewhere: mass on what is no patch (prefix tokens, padding) or is masked.
    """

    layer: int
    head: int | None
    query: Query
    mass: npt.NDArray[np.float64]
    stride: tuple[int, int]
    patch: tuple[int, int] | None
    elsewhere: float


@dataclass(frozen=True, eq=False)
class Overlay:
    """A picture as a network saw it, and maps that lie over it.

    Attributes:
        model: name of the network.
        kind: how it was trained.
        quantity: what the maps hold, for a title.
        picture: height x width x 3, between 0 and 1.
        maps: by query, layer and head, in this order.
    """

    model: str
    kind: str
    quantity: str
    picture: npt.NDArray[np.float32]
    maps: tuple[HeatMap, ...]
