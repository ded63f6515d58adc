"""Where the tokens of a site lie in the image: grid, stride, windows, prefix.

What belongs here: positions, distances and validity of query-key pairs, from sizes alone. What does
not: modules and hooks; the sizes come from the shapes seen in a pass.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mimprobe.measures.patches import Windows
from mimprobe.shapes import Distances


@dataclass(frozen=True)
class Geometry:
    """The layout of one site's tokens.

    Attributes:
        grid: rows and columns of patches that lie in the image.
        stride: height and width of a patch in pixels of the network's input.
        prefix_tokens: tokens before the patches (class, distillation, registers).
        window: rows and columns of an attention window, or None for global attention.
        shift: rows and columns by which the map was rolled before it was cut into windows.
        pads_first: whether a map that the window does not divide is padded before it is rolled, as
            in transformers, or after it, as in timm.
    """

    grid: tuple[int, int]
    stride: tuple[int, int]
    prefix_tokens: int = 0
    window: tuple[int, int] | None = None
    shift: tuple[int, int] = (0, 0)
    pads_first: bool = False

    @property
    def windows(self) -> int:
        """Windows that one image is cut into; 1 for global attention."""
        if self.window is None:
            return 1
        rows, columns = self._padded_grid
        return (rows // self.window[0]) * (columns // self.window[1])

    @property
    def keys(self) -> int:
        """Keys that a patch query can see, prefix not counted."""
        height, width = self.window or self.grid
        return height * width

    @property
    def _padded_grid(self) -> tuple[int, int]:
        assert self.window is not None
        rows, columns = (
            math.ceil(size / side) * side for size, side in zip(self.grid, self.window, strict=True)
        )
        return rows, columns


@lru_cache(maxsize=64)
def patch_distances(geometry: Geometry, device: torch.device) -> Distances:
    """Euclidean distance between patch centres, in pixels of the network's input.

    With windows, the queries of all windows stand below each other and the keys are those of the
    query's own window, at their true place in the image: where a roll brought the far side of the
    image into a window, the distance is the one across the image.

    Returns:
        float32 of shape (windows * keys, keys).
    """
    places = window_places(geometry).to(torch.float64)
    scaled = places * torch.tensor(geometry.stride, dtype=torch.float64)
    distance: Tensor = torch.linalg.vector_norm(scaled[:, :, None] - scaled[:, None, :], dim=-1)
    return distance.flatten(0, 1).to(device, torch.float32)


@lru_cache(maxsize=64)
def uniform_distance(geometry: Geometry) -> float:
    """Distance of uniform attention, in pixels: what a head gives that ignores the image.

    The mean over patch queries of the mean distance to a query's valid keys: real, and unmasked.
    """
    device = torch.device("cpu")
    distances, windows = patch_distances(geometry, device).double(), windows_of(geometry, device)
    if windows is None:
        return float(distances.mean())
    valid = ~(windows.padding | windows.masked)
    rows = (distances * valid).sum(1) / valid.sum(1)
    return float(rows[windows.inside].mean())


@lru_cache(maxsize=64)
def windows_of(geometry: Geometry, device: torch.device) -> Windows | None:
    """Which pairs of a windowed map are padding and which are masked; None for global attention.

    A shifted window holds up to four regions that are not neighbours in the image; attention
    between them is masked. The regions are those of the padded map, as Swin's code draws them.
    """
    if geometry.window is None:
        return None
    places = window_places(geometry)
    rows, columns = geometry.grid
    outside = (places[..., 0] >= rows) | (places[..., 1] >= columns)
    regions = _window_regions(geometry)
    masked = regions[:, :, None] != regions[:, None, :]
    padding = outside[:, None, :].expand_as(masked)
    return Windows(padding.flatten(0, 1).to(device), masked.flatten(0, 1).to(device))


class QueryKeys(NamedTuple):
    """Which row of a site's map belongs to a patch, and where its keys lie.

    Attributes:
        window: number of the patch's window; 0 for global attention.
        row: place of the patch in that window, and so the row of its attention.
        places: row and column in the image of each key; padding lies outside the grid.
        visible: which keys lie in the image and are not masked from the patch.
    """

    window: int
    row: int
    places: Int[Tensor, "key 2"]
    visible: Bool[Tensor, "key"]


def keys_of(geometry: Geometry, patch: tuple[int, int]) -> QueryKeys:
    """Find the row of attention of the patch at a row and column of the grid, prefix not counted.

    A window that a shift put together is given at the true places of its patches.
    """
    places = window_places(geometry)
    window, row = (places == torch.tensor(patch)).all(-1).nonzero()[0].tolist()
    keys = places[window]
    visible = (keys < torch.tensor(geometry.grid)).all(-1)
    hidden = windows_of(geometry, torch.device("cpu"))
    if hidden is not None:
        visible = visible & ~hidden.by_window(hidden.masked)[window, row]
    return QueryKeys(window, row, keys, visible)


def window_places(geometry: Geometry) -> Int[Tensor, "window key 2"]:
    """Row and column in the image of each position of each window; padding lies outside."""
    if geometry.window is None:
        rows, columns = geometry.grid
        grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        return grid.view(1, rows * columns, 2)
    axes = []
    padded = geometry._padded_grid
    for size, full, shift in zip(geometry.grid, padded, geometry.shift, strict=True):
        # What is padded first is rolled along: padding then lies before the patches that wrap.
        rolled = full if geometry.pads_first else size
        turn = (torch.arange(rolled) + shift) % rolled
        axes.append(torch.cat([turn, torch.arange(rolled, full)]))
    rows_of, columns_of = torch.meshgrid(*axes, indexing="ij")
    return _cut(torch.stack([rows_of, columns_of], dim=-1), geometry.window)


def _window_regions(geometry: Geometry) -> Int[Tensor, "window key"]:
    """Number the regions between which a shifted window masks attention."""
    assert geometry.window is not None
    labels = []
    for full, side, shift in zip(
        geometry._padded_grid, geometry.window, geometry.shift, strict=True
    ):
        label = torch.zeros(full, dtype=torch.int64)
        if any(geometry.shift):
            label[full - side :] = 1
            label[full - shift if shift else 0 :] = 2
        labels.append(label)
    numbers = labels[0][:, None] * 3 + labels[1][None, :]
    return _cut(numbers.unsqueeze(-1), geometry.window).squeeze(-1)


def _cut(
    values: Int[Tensor, "row column value"], window: tuple[int, int]
) -> Int[Tensor, "window key value"]:
    """Cut a map into windows, row by row, each flattened row by row."""
    rows, columns, last = values.shape
    height, width = window
    tiles = values.view(rows // height, height, columns // width, width, last)
    return tiles.transpose(1, 2).reshape(-1, height * width, last)
