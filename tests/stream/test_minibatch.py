"""Minibatch CKA: the definition written out, whatever the split, and right where floats run out."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.measures.minibatch import COLUMNS, gram
from mimprobe.stream import CkaBatches

SITES = ("a", "b", "c")
WIDTHS = {"a": 30, "b": 7, "c": COLUMNS + 13}


def features(images, seed=0):
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(images, 6, generator=draw)
    return {
        site: base @ torch.randn(6, width, generator=draw)
        + 2 * torch.randn(images, width, generator=draw)
        for site, width in WIDTHS.items()
    }


def fed(found, batch, parts, images=None):
    total = len(next(iter(found.values())))
    stream = CkaBatches(SITES, images or total, batch=batch)
    for part in parts:
        stream.add(part, {site: rows[part] for site, rows in found.items()})
    return stream


def hsic(x, y):
    """Song et al. 2012, equation 4, in float64."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return (
        np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    ) / (n * (n - 3))


def by_definition(found, batches):
    wide = {site: rows.double().numpy() for site, rows in found.items()}

    def summed(one, other):
        return sum(hsic(wide[one][part], wide[other][part]) for part in batches)

    return np.array(
        [[summed(a, b) / np.sqrt(summed(a, a) * summed(b, b)) for b in SITES] for a in SITES]
    )


@pytest.mark.parametrize(("images", "batch"), [(32, 8), (37, 8), (19, 64), (34, 8)])
def test_numerator_and_denominator_are_summed_before_the_ratio(images, batch):
    found = features(images)
    batches = [list(range(start, min(start + batch, images))) for start in range(0, images, batch)]
    used = [part for part in batches if len(part) >= 4]
    matrix = fed(found, batch, [list(range(images))]).cka()
    expected = by_definition(found, used)
    np.testing.assert_allclose(matrix.value.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert matrix.images == sum(map(len, used))
    if len(used) == 1:
        assert matrix.se.isnan().all()
        assert matrix.note == "one batch is too few for a jackknife"
        return
    left = [by_definition(found, used[:gone] + used[gone + 1 :]) for gone in range(len(used))]
    error = np.std(left, axis=0) * np.sqrt(len(used) - 1)
    np.testing.assert_allclose(matrix.se.numpy(), error, rtol=1e-3, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), cut=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_any_order_split_and_merging_gives_the_same_bits(seed, cut):
    found, images = features(21), list(range(21))
    random.Random(seed).shuffle(images)
    parts = [images[a:b] for a, b in itertools.pairwise([0, *itertools.accumulate(cut), 99])]
    parts = [part for part in parts if part]
    whole = fed(found, 8, [list(range(21))]).cka()
    assert torch.equal(fed(found, 8, parts).cka().value, whole.value)
    one, other = fed(found, 8, parts[::2], 21), fed(found, 8, parts[1::2], 21)
    one.merge(other)
    assert torch.equal(one.cka().value, whole.value)
    resumed = CkaBatches(SITES, 21, batch=8)
    resumed.restore(fed(found, 8, parts[:1], 21).state())
    for part in parts[1:]:
        resumed.add(part, {site: rows[part] for site, rows in found.items()})
    assert torch.equal(resumed.cka().value, whole.value)
    assert torch.equal(resumed.cka().se, whole.se)


def test_a_state_survives_the_file(tmp_path):
    found = features(12)
    torch.save(fed(found, 8, [[0, 1, 2, 3, 4]], 12).state(), tmp_path / "state.pt")
    resumed = CkaBatches(SITES, 12, batch=8)
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    rest = list(range(5, 12))
    resumed.add(rest, {site: rows[rest] for site, rows in found.items()})
    assert torch.equal(resumed.cka().value, fed(found, 8, [list(range(12))]).cka().value)
    with pytest.raises(OptionError, match="image 3 was added twice"):
        resumed.add([3], {site: rows[[3]] for site, rows in found.items()})


def test_memory_is_that_of_unfinished_batches():
    found = features(40)
    stream = fed(found, 8, [list(range(start, start + 5)) for start in range(0, 40, 5)][:5], 40)
    assert sum(len(part) for waiting in stream._waiting.values() for part, _ in waiting) == 1
    assert len(stream._hsic) == 3


def test_a_large_constant_changes_nothing():
    found = features(16)
    moved = {site: (rows.double() + 1e4).float() for site, rows in found.items()}
    exact = {site: rows.double() - 1e4 for site, rows in moved.items()}
    matrix = fed(moved, 8, [list(range(16))]).cka()
    expected = by_definition(exact, [list(range(8)), list(range(8, 16))])
    np.testing.assert_allclose(matrix.value.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_constant_features_are_like_nothing():
    found = features(8)
    found["b"] = torch.full((8, 7), 0.1)
    value = fed(found, 8, [list(range(8))]).cka().value
    assert value[1].isnan().all()
    assert value[0, 2].isfinite()
    assert (gram(found["b"]) == 0).all()


def test_the_same_and_a_rotation_are_alike_and_noise_is_not():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(256, 40, generator=draw)
    turn, _ = torch.linalg.qr(torch.randn(40, 40, generator=draw))
    found = {"a": x, "b": 3 * x @ turn + 7, "c": torch.randn(256, 900, generator=draw)}
    matrix = fed(found, 64, [list(range(256))]).cka()
    assert matrix.value[0, 1].item() == pytest.approx(1, abs=1e-5)
    assert abs(matrix.value[0, 2]) < 4 * matrix.se[0, 2]


def test_what_does_not_fit_is_refused():
    found = features(9)
    with pytest.raises(OptionError, match="a batch of 3 images"):
        CkaBatches(SITES, 9, batch=3)
    stream = fed(found, 8, [[0, 1, 2]], 9)
    with pytest.raises(OptionError, match="at least 4 images, got 3 images"):
        stream.cka()
    assert stream.left_out == 3
    with pytest.raises(OptionError, match="expected"):
        stream.add([4], {"a": found["a"][[4]]})
    with pytest.raises(OptionError, match="by site"):
        stream.add([4], {**found, "a": found["a"][[4]]})
    with pytest.raises(OptionError, match="cannot be merged"):
        stream.merge(CkaBatches(SITES, 9, batch=4))
