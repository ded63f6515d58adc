"""Attention by relative offset: what a head looks at around the query.

What belongs here: folding a map into sums over queries, one for each offset, and what follows from
them (the profile over distance). What does not: which offsets the pairs of a model have
(`models.offsets`).

A *canvas* holds one number for each offset (row, column) of key less query, in patches, the query
itself in its middle. With A[b,h,q,k] a map whose rows sum to one or are zero, p_q the place of q,

    F[b,h,d] = sum over q of A[b,h,q,k] with p_k - p_q = d         the canvas of a head
    n[d]     = number of rows q for which there is such a k

F / n is what the patch at offset d is given on average: 1/K everywhere for uniform attention over K
keys. The sum of F over all d is the number of rows, and over the d of one distance the mass there.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mimprobe.measures.attention import widened
from mimprobe.shapes import Attention, OffsetMaps


@dataclass(frozen=True)
class OffsetCanvas:
    """Where the pairs of a map lie on its canvas.

    Attributes:
        tile: rows and columns of the keys, of one window or of the whole grid.
        reach: largest offset on the canvas, in rows and in columns.
        far: pairs that stand close in a window only because a roll brought the far side of the
            image there: number of the pair in the map, place that the window would give it on the
            canvas, place that it has. Empty but for padded windows that were rolled before.
    """

    tile: tuple[int, int]
    reach: tuple[int, int]
    far: Int[Tensor, "3 pair"]


@dataclass(frozen=True)
class Rings:
    """Which ring around the query each place of a canvas lies in, and their width in pixels.

    Ring k holds the distances from (k - 1/2) to (k + 1/2) widths, ring 0 the query's own patch.
    """

    number: Int[Tensor, "row_offset column_offset"]
    width: float

    @property
    def count(self) -> int:
        """Rings, counting from the innermost."""
        return int(self.number.max()) + 1


def offset_sums(attention: Attention, canvas: OffsetCanvas) -> OffsetMaps:
    """Sum over queries of the attention at each offset: F of the module's derivation.

    The windows of an image are added up first: places in a window have the offsets of the image,
    but for `canvas.far`, which are moved to where they belong. Sums are float64.
    """
    attention = widened(attention)
    rows, columns = canvas.tile
    windows = torch.unflatten(attention, 2, (-1, rows * columns))
    summed = windows.sum(2, dtype=torch.float64) if windows.shape[2] > 1 else windows[:, :, 0]
    sums = _embedded(_folded(summed, rows, columns), canvas.reach)
    pairs, seeming, true = canvas.far
    if len(pairs):
        moved = attention.flatten(2)[..., pairs].double()
        flat = sums.flatten(2)
        flat.index_add_(-1, seeming, moved, alpha=-1).index_add_(-1, true, moved)
    return sums


def offset_means(
    sums: OffsetMaps, queries: Float64[Tensor, "#batch #head row_offset column_offset"]
) -> OffsetMaps:
    """Mean attention at each offset: sums over the number of rows that have it; NaN for none."""
    return torch.where(queries > 0, sums / queries, torch.nan)


def rings_of(reach: tuple[int, int], stride: tuple[int, int]) -> Rings:
    """Cut a canvas into rings as wide as the shorter side of a patch; `stride` in pixels."""
    width = float(min(stride))
    away = [
        step * torch.arange(-most, most + 1, dtype=torch.float64)
        for most, step in zip(reach, stride, strict=True)
    ]
    distance = torch.hypot(away[0][:, None], away[1][None, :])
    return Rings((distance / width + 0.5).floor().long(), width)


def ring_shares(
    sums: Float64[Tensor, "*heads row_offset column_offset"], rings: Rings
) -> Float64[Tensor, "*heads ring"]:
    """Share of a head's attention in each ring; sums to one, NaN where no row is left."""
    shares = sums.new_zeros(*sums.shape[:-2], rings.count)
    shares.index_add_(-1, rings.number.flatten(), sums.flatten(-2))
    return shares / shares.sum(-1, keepdim=True)


def _folded(
    maps: Float[Tensor, "batch head query key"], rows: int, columns: int
) -> Float64[Tensor, "batch head row_offset column_offset"]:
    """Fold maps of one tile: first along rows, then along columns of the queries.

    For a fixed column of the query, keys of all rows move by whole rows: contiguous pieces.
    """
    high, wide = 2 * rows - 1, 2 * columns - 1
    by_row = torch.unflatten(maps, 2, (rows, columns))
    by_column = maps.new_zeros(*maps.shape[:2], columns, high * columns, dtype=torch.float64)
    for row in range(rows):
        start = (rows - 1 - row) * columns
        by_column[..., start : start + rows * columns] += by_row[:, :, row]
    parts: Tensor = torch.unflatten(by_column, -1, (high, columns))
    sums = maps.new_zeros(*maps.shape[:2], high, wide, dtype=torch.float64)
    for column in range(columns):
        start = columns - 1 - column
        sums[..., start : start + columns] += parts[:, :, column]
    return sums


def _embedded(sums: Float64[Tensor, "batch head high wide"], reach: tuple[int, int]) -> OffsetMaps:
    """Put the canvas of a tile in the middle of a larger one."""
    more = [most - size // 2 for most, size in zip(reach, sums.shape[-2:], strict=True)]
    if not any(more):
        return sums
    edges = (more[1], more[1], more[0], more[0])
    return torch.nn.functional.pad(sums, edges)
