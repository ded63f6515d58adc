"""Kept vectors, and their spectra with the jackknife, against NumPy's decomposition."""

import itertools

import numpy as np
import pytest
import torch

from mimprobe.errors import OptionError
from mimprobe.stream import PooledRows, spectrum
from mimprobe.stream.spectra import GROUPS


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_numpy(x, centred):
    x = x - x.mean(0) if centred else x
    values = np.linalg.svd(x, compute_uv=False)
    shares = values / values.sum()
    shares = shares[shares > 1e-12]
    return shares, np.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(60, 8), (15, 40), (25, 25)])
def test_rank_and_its_error_are_those_of_the_definition(shape, centred):
    x = draw(*shape) * torch.linspace(1, 4, shape[1]) + 3
    found = spectrum(x, centred=centred, seed=5)
    wide = x.double().numpy()
    shares, rank = by_numpy(wide, centred)
    assert found.rank.item() == pytest.approx(rank, rel=1e-9)
    np.testing.assert_allclose(found.shares, shares[: len(found.shares)], rtol=1e-7)
    order = np.random.default_rng(5).permutation(shape[0])
    bounds = [shape[0] * group // GROUPS for group in range(GROUPS + 1)]
    left = [
        by_numpy(np.delete(wide, order[a:b], axis=0), centred)
        for a, b in itertools.pairwise(bounds)
    ]
    ranks = np.array([rank for _, rank in left])
    assert found.rank_se.item() == pytest.approx(ranks.std() * np.sqrt(GROUPS - 1), rel=1e-6)
    first = np.array([shares[0] for shares, _ in left])
    assert found.shares_se[0].item() == pytest.approx(first.std() * np.sqrt(GROUPS - 1), rel=1e-6)


def test_a_common_constant_hides_the_rest_unless_it_is_subtracted():
    x = draw(100, 16) + 1000
    assert spectrum(x, centred=False).rank < 1.5
    assert spectrum(x, centred=True).rank > 14


def test_white_features_fill_all_directions():
    turn, _ = torch.linalg.qr(draw(64, 16).double())
    assert spectrum(turn.float(), centred=False).rank.item() == pytest.approx(16, rel=1e-6)
    assert spectrum(torch.ones(8, 3), centred=True).rank.isnan()


def rows_of(parts, budget_bytes=1 << 20):
    rows = PooledRows(("a", "b"), budget_bytes=budget_bytes)
    for part in parts:
        rows.add(part, {"a": A[part], "b": B[part]})
    return rows


A, B = draw(9, 4), draw(9, 3, seed=1)
SPLIT = [[4, 2], [8, 0, 1], [3, 5, 6, 7]]


@pytest.mark.parametrize("budget_bytes", [1 << 20, 100])
def test_vectors_come_back_by_image_from_memory_and_disk(budget_bytes):
    rows = rows_of(SPLIT, budget_bytes)
    assert rows.on_disk == (budget_bytes == 100)
    assert torch.equal(rows.site("a"), A)
    assert torch.equal(rows.site("b"), B)
    other = rows_of(SPLIT[:1], budget_bytes)
    other.merge(rows_of(SPLIT[1:], budget_bytes))
    assert torch.equal(other.site("b"), B)
    assert len(other) == 9


def test_a_state_goes_on_where_it_stopped(tmp_path):
    torch.save(rows_of(SPLIT[:2]).state(), tmp_path / "state.pt")
    resumed = PooledRows(("a", "b"))
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    resumed.add(SPLIT[2], {"a": A[SPLIT[2]], "b": B[SPLIT[2]]})
    assert torch.equal(resumed.site("a"), A)
    with pytest.raises(OptionError, match="twice"):
        resumed.add([4], {"a": A[[4]], "b": B[[4]]})
    empty = PooledRows(("a", "b"))
    empty.restore(PooledRows(("a", "b")).state())
    with pytest.raises(OptionError, match="no features were added"):
        empty.site("a")
