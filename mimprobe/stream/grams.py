"""Gram matrices in blocks of images, summed up so that whole groups can be left out again.

What belongs here: the sums from which CKA and its jackknife follow. What does not: where the
features are kept (`stream.features`), and HSIC itself (`measures.similarity`).

Images are dealt into groups. With K^s the Gram matrix of site s, its diagonal zeroed,

    T[g,h,s,t] = sum over i in g, j in h of K^s_ij K^t_ij
    R[g,s,j]   = sum over i in g of K^s_ij

give tr(K^s K^t) as the sum of T, and 1'K^s as the sum of R over g. Leaving out group a takes away
row and column a of T, R[a], and the images j in a. A block of S Gram matrices is made at a time,
flattened, and multiplied with itself: one S x S product for all pairs of sites.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.measures.similarity import LEAST_IMAGES, cka_from_hsic, hsic_from_totals

BLOCK_BYTES = 64 << 20
"""Memory for one block of Gram matrices and the rows that it is made of."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowSource:
    """The features of `images` images: rows for given ranks, the sites' columns side by side."""

    images: int
    widths: tuple[int, ...]
    take: Callable[[Positions], npt.NDArray[np.float32]]

    def sites(
        self, ranks: Positions, shift: Float64[Tensor, "column"]
    ) -> tuple[Float64[Tensor, "image _"], ...]:
        """Return these images' features in float64, less a constant, for each site."""
        rows = torch.from_numpy(self.take(ranks)).double()
        return torch.split(rows.sub_(shift), list(self.widths), dim=1)

    def centre(self) -> Float64[Tensor, "column"]:
        """Mean feature; exact where all are equal, since float64 sums up 2^29 float32 exactly."""
        ranks = np.arange(self.images)
        step = max(1, BLOCK_BYTES // (12 * sum(self.widths)))
        total = torch.zeros(sum(self.widths), dtype=torch.float64)
        for start in range(0, self.images, step):
            total += torch.from_numpy(self.take(ranks[start : start + step])).double().sum(0)
        return total / self.images


@dataclass(frozen=True)
class GramSums:
    """T and R of the module's derivation; `members[g]` are the columns of R that are group g's."""

    products: Float64[Tensor, "group other_group site other_site"]
    rows: Float64[Tensor, "group site image"]
    members: tuple[slice, ...]

    def cka(self, without: int | None = None) -> Float64[Tensor, "site other_site"]:
        """CKA of every pair of sites, over all images or without those of one group."""
        trace, row_sums = self.products.sum((0, 1)), self.rows.sum(0)
        if without is not None:
            crossing, within = self.products[without].sum(0), self.products[without, without]
            trace = trace - 2 * crossing + within
            row_sums = row_sums - self.rows[without]
            gone = self.members[without]
            row_sums = torch.cat([row_sums[:, : gone.start], row_sums[:, gone.stop :]], dim=1)
        totals = row_sums.sum(1)
        middle = row_sums @ row_sums.T
        images = row_sums.shape[1]
        return cka_from_hsic(hsic_from_totals(images, trace, totals[:, None], totals, middle))

    def without_each(self) -> Float64[Tensor, "group site other_site"]:
        """CKA of every pair of sites, without each group in turn."""
        return torch.stack([self.cka(without=group) for group in range(len(self.members))])


def jackknife_error(
    left: Float64[Tensor, "group site other_site"],
) -> Float64[Tensor, "site other_site"]:
    """Delete-one-group jackknife: sqrt((G - 1) / G * sum of squared deviations)."""
    groups = len(left)
    return ((left - left.mean(0)).square().sum(0) * (groups - 1) / groups).sqrt()


def group_count(images: int, largest: int = 20) -> int:
    """Number of jackknife groups: as many as sensible, 1 where leaving one out leaves too few."""
    groups = min(largest, images)
    enough = images - math.ceil(images / groups) >= LEAST_IMAGES
    return groups if enough else 1


def gram_sums(source: RowSource, groups: int, seed: int) -> GramSums:
    """Deal the images into groups at random, and sum up their Gram matrices block by block.

    Groups are random because image folders are sorted by class: groups in order would differ more
    than random images do, and dealing the classes out evenly would make them differ less.
    """
    order = np.random.default_rng(seed).permutation(source.images)
    bounds = [source.images * group // groups for group in range(groups + 1)]
    members = tuple(slice(*pair) for pair in itertools.pairwise(bounds))
    sites = len(source.widths)
    products = torch.zeros(groups, groups, sites, sites, dtype=torch.float64)
    rows = torch.zeros(groups, sites, source.images, dtype=torch.float64)
    shift = source.centre()
    tiles = [(g, tile) for g, slot in enumerate(members) for tile in _tiles(slot, source.widths)]
    for a, (g, first) in enumerate(tiles):
        left = source.sites(order[first], shift)
        for h, second in tiles[a:]:
            same = first == second
            right = left if same else source.sites(order[second], shift)
            block = torch.stack([x @ y.T for x, y in zip(left, right, strict=True)])
            if same:
                block.diagonal(dim1=1, dim2=2).zero_()
            product = block.flatten(1) @ block.flatten(1).T
            products[g, h] += product
            rows[g, :, second] += block.sum(1)
            if not same:
                products[h, g] += product
                rows[h, :, first] += block.sum(2)
    return GramSums(products, rows, members)


def _tiles(slot: slice, widths: tuple[int, ...]) -> list[slice]:
    """Cut a group into parts of t images, so that 8 S t^2 + 24 t sum(widths) bytes fit a block."""
    quadratic, linear = 8 * len(widths), 24 * sum(widths)
    root = math.sqrt(linear**2 + 4 * quadratic * BLOCK_BYTES)
    step = max(1, int((root - linear) / (2 * quadratic)))
    return [
        slice(start, min(start + step, slot.stop)) for start in range(slot.start, slot.stop, step)
    ]
