"""How differently every two heads of a layer look."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mimprobe.analyzers.analyzer import TOTAL, Measured
from mimprobe.analyzers.per_site import PerSiteAnalyzer, Summary
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.maps import map_distance, mean_map_distance
from mimprobe.models.sites import Layout
from mimprobe.shapes import HeadPairs as PairsOfHeads
from mimprobe.stream import MapSums, State
from mimprobe.tables import HEAD_PAIR_COLUMNS

MAP_BYTES = 8 << 20
"""Largest sum of maps that is kept for a layer: ViT-B/16 at 224 px takes 3.7 MB, ViT-L 4.9."""

MAP = f"{TOTAL}map"


class HeadPairs(PerSiteAnalyzer):
    """Divergence and distance of every two heads, and of their average maps.

    Besides moments of each pair, the sum of the maps of a layer is kept, in float64: 8 bytes for
    each head, query and key, however many images.
    """

    name = "head_pairs"
    units = {"head_kl": "nats", "head_distance": "1", "mean_map_distance": "1"}  # noqa: RUF012
    definition = (
        "head_kl: KL(A_i || A_j) as in its own table, for every ordered pair; head_distance: mean "
        "over images of 1 - cos of the two heads' maps, as vectors of all patch queries and keys; "
        "mean_map_distance: the same of the maps averaged over images first, which leaves what "
        "heads do alike in all images. It has no standard error: a jackknife would need a sum of "
        "maps for each group of images"
    )
    columns = HEAD_PAIR_COLUMNS

    def __init__(self, *, map_bytes: int = MAP_BYTES) -> None:
        """Choose how large a layer's sum of maps may be; without it no `mean_map_distance`."""
        super().__init__()
        self.map_bytes = map_bytes
        self._maps = MapSums()

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:
        """Note at which layer each site stands, and forget an earlier run."""
        super().begin(places, n_images)
        self._maps = MapSums()

    def measure(self, view: View) -> Measured:
        """Give both of each image and pair, and the sum of the maps."""
        seen = attention_of(view)
        maps = seen.rows(self.prefix).attention
        measured = {
            "head_kl": _with_mean(seen.products(self.prefix).head_kl()),
            "head_distance": _with_mean(map_distance(maps)),
        }
        if 8 * maps[0].numel() <= self.map_bytes:
            measured[MAP] = maps.sum(0, keepdim=True, dtype=torch.float64)
        return measured

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Take in a batch; the maps only after it was seen that no image comes twice."""
        pairs: dict[str, dict[str, Measured]] = {}
        for model, sites in measured.items():
            pairs[model] = {
                site: {name: values for name, values in found.items() if name != MAP}
                for site, found in sites.items()
            }
        super().add(images, pairs)
        for model, sites in measured.items():
            for site, found in sites.items():
                for total in found.get(MAP, ()):
                    self._maps.add(_key(model, site), total)

    def merge(self, other: "PerSiteAnalyzer") -> None:
        """Take over the other's images."""
        assert isinstance(other, HeadPairs)
        super().merge(other)
        self._maps.merge(other._maps)

    def state(self) -> State:
        """Give blocks and moments of each model, and the sums of maps."""
        return {"moments": super().state(), "maps": self._maps.state()}

    def restore(self, state: State) -> None:
        """Take over a state of the same models."""
        super().restore(state["moments"])
        self._maps.restore(state["maps"])

    def rows(self, model: str, site: str, found: Mapping[str, Summary]) -> pd.DataFrame:
        """One row for each metric and ordered pair of two heads, and for the mean over pairs."""
        frames = [_pair_rows(metric, summary) for metric, summary in found.items()]
        total = self._maps.get(_key(model, site))
        if total is not None:
            distance = _with_mean(mean_map_distance(total).unsqueeze(0))[0].numpy()
            none = np.full_like(distance, np.nan)
            n = found["head_distance"].n
            frames.append(_pair_rows("mean_map_distance", Summary(distance, none, none, n)))
        return pd.concat(frames, ignore_index=True)


def _with_mean(pairs: PairsOfHeads) -> Float[Tensor, "batch entry"]:
    """Lay all pairs in a row, NaN for a head with itself, and their mean after them."""
    itself = torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)
    row = pairs.masked_fill(itself, torch.nan).flatten(1)
    return torch.cat([row, row.nanmean(1, keepdim=True)], 1)


def _pair_rows(metric: str, summary: Summary) -> pd.DataFrame:
    heads = math.isqrt(len(summary.value) - 1)
    one, other = (_numbered(numbers) for numbers in np.indices((heads, heads)).reshape(2, -1))
    frame = pd.DataFrame({"head": one, "other_head": other, "metric": metric, **summary._asdict()})
    return frame[(frame["head"] != frame["other_head"]).fillna(value=True)]


def _numbered(heads: npt.NDArray[np.int64]) -> "pd.Series[Any]":
    """Give head numbers as a column, with an empty one at its end for the mean."""
    return pd.Series([*heads.tolist(), pd.NA], dtype="Int64")


def _key(model: str, site: str) -> str:
    """Name a site of a model in one string; a tab occurs in no site."""
    return f"{model}\t{site}"
