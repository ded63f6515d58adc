"""Effective rank from singular values, against NumPy's decomposition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.measures.spectrum import effective_rank, normalised, singular_values


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_numpy(x):
    values = np.linalg.svd(x.numpy(), compute_uv=False)
    shares = values / values.sum()
    return values, math.exp(-sum(p * math.log(p) for p in shares if p > 1e-14))


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (12, 12)])
def test_both_moments_have_the_singular_values_of_the_matrix(shape):
    x = draw(*shape)
    values, rank = by_numpy(x)
    for moment in (x.T @ x, x @ x.T):
        found = singular_values(moment)
        np.testing.assert_allclose(found[: min(shape)], values, rtol=1e-9)
        assert (found[min(shape) :] == 0).all()
        assert effective_rank(found).item() == pytest.approx(rank, rel=1e-9)


def test_known_ranks():
    assert effective_rank(torch.ones(17)).item() == pytest.approx(17)
    assert effective_rank(singular_values(5 * torch.eye(9, dtype=torch.float64))).item() == (
        pytest.approx(9)
    )
    assert effective_rank(torch.tensor([3.0, 0, 0])).item() == 1
    assert effective_rank(torch.zeros(3)).isnan()
    halves = torch.tensor([[2.0, 1.0, 1.0]])
    assert effective_rank(halves).item() == pytest.approx(2**1.5)
    assert normalised(halves).tolist() == [[0.5, 0.25, 0.25]]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), rows=st.integers(2, 12))
def test_rank_knows_neither_scale_nor_rotation(seed, scale, rows):
    x = draw(rows, 6, seed=seed)
    turn, _ = torch.linalg.qr(draw(6, 6, seed=seed + 1))
    turned = scale * x @ turn
    rank = effective_rank(singular_values(x @ x.T))
    torch.testing.assert_close(effective_rank(singular_values(turned @ turned.T)), rank)
    assert 1 - 1e-9 <= rank <= min(rows, 6) + 1e-9
