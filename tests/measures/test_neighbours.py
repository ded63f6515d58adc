"""Nearest neighbours and their overlap, against loops over images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.measures import neighbours as module
from mimprobe.measures.neighbours import nearest_neighbours, neighbour_overlap


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(x, k):
    found = []
    for i, one in enumerate(x):
        cosines = [
            -np.inf if i == j else one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            for j, other in enumerate(x)
        ]
        found.append(set(np.argsort(cosines)[-k:].tolist()))
    return found


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_neighbours_and_overlap_are_those_of_loops(rows, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", rows * 8 * 20)
    x, y = draw(20, 6), draw(20, 4, seed=1)
    first, second = nearest_neighbours(x, 5), nearest_neighbours(y, 5)
    expected = by_loops(x.numpy(), 5), by_loops(y.numpy(), 5)
    for found, sets in zip((first, second), expected, strict=True):
        assert [set(row) for row in found.tolist()] == sets
    overlap = [len(a & b) / 5 for a, b in zip(*expected, strict=True)]
    assert neighbour_overlap(first, second).tolist() == overlap
    assert neighbour_overlap(first, first).tolist() == [1] * 20


def test_independent_features_share_what_chance_gives():
    n, k = 400, 10
    overlap = neighbour_overlap(
        nearest_neighbours(draw(n, 32), k), nearest_neighbours(draw(n, 32, seed=1), k)
    )
    assert overlap.mean().item() == pytest.approx(k / (n - 1), abs=4 * 0.07 / np.sqrt(n))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
def test_rotation_and_lengths_change_no_neighbour(seed, k):
    x = draw(9, 5, seed=seed)
    turn, _ = torch.linalg.qr(draw(5, 5, seed=seed + 1))
    turned = x @ turn * (0.1 + draw(9, 1, seed=seed + 2).abs())
    assert neighbour_overlap(nearest_neighbours(x, k), nearest_neighbours(turned, k)).min() == 1


def test_too_few_images_are_refused():
    with pytest.raises(OptionError, match="5 nearest neighbours among 5 images"):
        nearest_neighbours(draw(5, 3), 5)
