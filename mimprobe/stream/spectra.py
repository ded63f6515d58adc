"""Singular values and effective rank of kept features, with the jackknife over groups of images.

What belongs here: sums that let a group be left out. What does not: the numbers themselves
(`measures.spectrum`).

The images are dealt into groups. With X the rows of all images, less the mean row of all where they
are centred, and s the sum of the rows that are left, the second moments without group g are

    d < n     X'X - sum over i in g of x_i x_i', centred: - s s' / (n - n_g)
    else      XX' without the rows and columns of g, centred: each row, then column, less its mean
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mimprobe.measures.similarity import row_constant
from mimprobe.measures.spectrum import effective_rank, normalised, singular_values
from mimprobe.shapes import Pooled

Members = Int64[Tensor, "_"]
"""Images of a group."""

GROUPS = 10
"""Jackknife groups; each costs one more decomposition."""

LEAST_IMAGES = 3


@dataclass(frozen=True)
class Spectrum:
    """Effective rank and normalised singular values of one site, with their standard errors.

    `rank` and `rank_se` are scalars; `shares` has the values that every group leaves room for.
    """

    rank: Float64[Tensor, ""]
    rank_se: Float64[Tensor, ""]
    shares: Float64[Tensor, "value"]
    shares_se: Float64[Tensor, "value"]


def spectrum(features: Pooled, *, centred: bool, seed: int = 0) -> Spectrum:
    """Decompose the features of all images once, and once without each group."""
    groups = _groups(len(features), seed)
    x = features.double() - row_constant(features) if centred else features.double()
    moments = _by_features if x.shape[1] < len(x) else _by_images
    values = [singular_values(moment) for moment in moments(x, groups, centred)]
    least = min(len(x) - max(map(len, groups)) - centred, x.shape[1])
    shares = torch.stack([normalised(found)[:least] for found in values])
    rank = torch.stack([effective_rank(found) for found in values])
    return Spectrum(rank[0], _jackknife(rank[1:]), shares[0], _jackknife(shares[1:]))


def _groups(images: int, seed: int) -> list[Members]:
    """Deal images into groups at random: folders are sorted by class."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(images))
    count = min(GROUPS, images)
    bounds = [images * group // count for group in range(count + 1)]
    return [order[start:end] for start, end in itertools.pairwise(bounds)]


def _by_features(
    x: Float64[Tensor, "image feature"], groups: Sequence[Members], centred: bool
) -> Iterator[Float64[Tensor, "feature other_feature"]]:
    """Second moments of the features: of all images, then without each group."""
    moment, total = x.T @ x, x.sum(0)
    yield moment
    for group in groups:
        gone = x[group]
        left, rest = moment - gone.T @ gone, total - gone.sum(0)
        yield left - torch.outer(rest, rest) / (len(x) - len(group)) if centred else left


def _by_images(
    x: Float64[Tensor, "image feature"], groups: Sequence[Members], centred: bool
) -> Iterator[Float64[Tensor, "_ _"]]:
    """Products of the images with each other: of all, then without each group."""
    products = x @ x.T
    yield products
    for group in groups:
        kept = torch.ones(len(x), dtype=torch.bool)
        kept[group] = False
        left = products[kept][:, kept]
        if centred:
            left = left - left.mean(0)
            left = left - left.mean(1, keepdim=True)
        yield left


def _jackknife(left: Float64[Tensor, "group *values"]) -> Float64[Tensor, "*values"]:
    """Delete-one-group standard error: sqrt((G - 1) / G * sum of squared deviations)."""
    groups = len(left)
    return ((left - left.mean(0)).square().sum(0) * (groups - 1) / groups).sqrt()
