"""Which offset each pair of query and key of a site has, and how often there is one.

What belongs here: offsets in patches from a geometry alone. What does not: attention
(`measures.offsets`).
"""

from functools import lru_cache

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from mimprobe.measures.offsets import OffsetCanvas, Rings, offset_sums, rings_of
from mimprobe.models.geometry import Geometry, window_places, windows_of

Canvas = Float64[Tensor, "1 1 row_offset column_offset"]


@lru_cache(maxsize=64)
def offset_canvas(geometry: Geometry, device: torch.device) -> OffsetCanvas:
    """Lay out the pairs of a site by their offset in the image."""
    height, width = tile = geometry.window or geometry.grid
    places = window_places(geometry)  # [window, key, 2]
    steps = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    seeming = steps[None, None, :] - steps[None, :, None]
    true = places[:, None, :] - places[:, :, None]  # [window, query, key, 2]
    valid = valid_pairs(geometry, torch.device("cpu")).view(true.shape[:-1])
    far = valid & (true != seeming).any(-1)
    reach = (height - 1, width - 1)
    if bool(far.any()):
        most = true[far].abs().amax(0).tolist()
        reach = (max(reach[0], most[0]), max(reach[1], most[1]))

    def on_canvas(offsets: Tensor) -> Tensor:
        row, column = offsets.expand_as(true)[far].unbind(-1)
        return (row + reach[0]) * (2 * reach[1] + 1) + column + reach[1]

    pairs = far.flatten().nonzero().squeeze(-1)
    moved = torch.stack([pairs, on_canvas(seeming), on_canvas(true)])
    return OffsetCanvas(tile, reach, moved.to(device))


@lru_cache(maxsize=64)
def valid_pairs(geometry: Geometry, device: torch.device) -> Bool[Tensor, "query key"]:
    """Tell which pairs are of two patches of the image that may see each other."""
    windows = windows_of(geometry, device)
    if windows is None:
        return torch.ones(geometry.keys, geometry.keys, dtype=torch.bool, device=device)
    return ~windows.padding & ~windows.masked & windows.inside.unsqueeze(-1)


@lru_cache(maxsize=64)
def offset_queries(geometry: Geometry, device: torch.device) -> Canvas:
    """Count the queries that have a key at each offset."""
    pairs = valid_pairs(geometry, device)
    return offset_sums(pairs[None, None].double(), offset_canvas(geometry, device))


@lru_cache(maxsize=64)
def uniform_sums(geometry: Geometry, device: torch.device) -> Canvas:
    """Sum over queries of what uniform attention over the valid keys gives to each offset."""
    pairs = valid_pairs(geometry, device).double()
    rows = pairs / pairs.sum(-1, keepdim=True).clamp_min(1)
    return offset_sums(rows[None, None], offset_canvas(geometry, device))


@lru_cache(maxsize=64)
def offset_rings(geometry: Geometry, device: torch.device) -> Rings:
    """Cut the canvas of a site into rings around the query."""
    rings = rings_of(offset_canvas(geometry, device).reach, geometry.stride)
    return Rings(rings.number.to(device), rings.width)
