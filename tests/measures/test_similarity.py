"""HSIC against its definition as a U-statistic; CKA against closed forms and chance."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.measures import hsic, linear_cka


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def slow_hsic(k, m):
    """Mean over all ordered quadruples of distinct images (Song et al. 2012, theorem 5)."""
    k, m = k.tolist(), m.tolist()
    terms = [
        k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q])
        for i, j, q, r in itertools.permutations(range(len(k)), 4)
    ]
    return sum(terms) / len(terms)


def slow_cka(x, y):
    k, m = x @ x.T, y @ y.T
    return slow_hsic(k, m) / math.sqrt(slow_hsic(k, k) * slow_hsic(m, m))


@given(st.integers(4, 7), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_hsic_equals_its_definition(images, seed):
    k, m = (x @ x.T for x in (normal(images, 3, seed=seed), normal(images, 2, seed=seed + 1)))
    assert hsic(k, m).item() == pytest.approx(slow_hsic(k, m), rel=1e-10, abs=1e-12)


def test_hsic_does_not_use_diagonals_and_modifies_nothing():
    k, m = (x @ x.T for x in (normal(6, 3), normal(6, 2, seed=1)))
    before = k.clone(), m.clone()
    value = hsic(k, m)
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert torch.equal(k, before[0])
    assert torch.equal(m, before[1])
    assert hsic(k + 1e3 * torch.eye(6).double(), m).item() == pytest.approx(value.item())


def test_hsic_of_matrices_with_a_large_constant_part():
    k, m = (x @ x.T for x in (normal(50, 3), normal(50, 2, seed=1)))
    assert hsic(k + 1e8, m + 1e8).item() == pytest.approx(hsic(k, m).item(), rel=1e-6)


# The last pair of widths is for more images than features, where no n x n matrix is made.
WIDTHS = [(40, 30), (3, 60), (3, 2)]


@pytest.mark.parametrize("widths", WIDTHS)
def test_cka_equals_its_definition(widths):
    x, y = normal(7, widths[0]), normal(7, widths[1], seed=1)
    assert linear_cka(x, y).item() == pytest.approx(slow_cka(x, y), rel=1e-10)
    x32, y32 = x.float(), y.float()
    found = linear_cka(x32, y32)
    assert found.dtype == torch.float64
    assert found.shape == ()
    assert found.item() == pytest.approx(slow_cka(x32.double(), y32.double()), rel=1e-10)


@given(st.integers(4, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.data())
@settings(max_examples=50, deadline=None)
def test_cka_does_not_see_rotation_scale_shift_or_order(images, width, other, seed, data):
    x, y = normal(images, width, seed=seed), normal(images, other, seed=seed + 1)
    value = linear_cka(x, y)
    torch.testing.assert_close(linear_cka(y, x), value, rtol=1e-8, atol=1e-10)
    rotation = torch.linalg.qr(normal(width, width, seed=seed + 2)).Q
    moved = 7.0 * x @ rotation + normal(width, seed=seed + 3)
    torch.testing.assert_close(linear_cka(moved, y), value, rtol=1e-8, atol=1e-10)
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(linear_cka(x[order], y[order]), value, rtol=1e-8, atol=1e-10)
    assert linear_cka(x, x).item() == pytest.approx(1)
    assert linear_cka(x, moved).item() == pytest.approx(1)


@pytest.mark.parametrize(("images", "width"), [(64, 768), (300, 16)])
def test_cka_under_a_constant_offset(images, width):
    common = normal(images, 4)
    x = (common @ normal(4, width, seed=1) + normal(images, width, seed=2) * 0.1).float()
    y = (common @ normal(4, width, seed=3) + normal(images, width, seed=4) * 0.1).float()
    far = x + 1e5  # float32 keeps 1/128 there: compare with what it kept
    kept = far.double() - 1e5
    assert linear_cka(far, y).item() == pytest.approx(linear_cka(kept, y).item(), rel=1e-9)
    assert linear_cka(far, y).item() == pytest.approx(linear_cka(x, y).item(), rel=1e-3)
    assert linear_cka(far, far).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("images", "width"), [(64, 768), (200, 20)])
def test_independent_noise_has_no_similarity(images, width):
    draws = 40
    values = torch.stack(
        [
            linear_cka(normal(images, width, seed=2 * i), normal(images, width, seed=2 * i + 1))
            for i in range(draws)
        ]
    )
    assert values.mean().abs() < 3 * values.std() / math.sqrt(draws)
    assert values.std() < 0.05
    assert (values < 0).any()  # never clamped


@pytest.mark.parametrize("width", [3, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_that_never_change_have_no_similarity_to_anything(width, dtype):
    constant = torch.full((20, width), 0.1, dtype=dtype) * torch.arange(width)
    assert linear_cka(constant, normal(20, 5)).isnan()
    assert linear_cka(constant, constant).isnan()


def test_inputs_of_cka_are_not_modified():
    for width in (2, 30):
        x, y = normal(8, width), normal(8, width, seed=1)
        before = x.clone(), y.clone()
        linear_cka(x, y)
        assert torch.equal(x, before[0])
        assert torch.equal(y, before[1])


def test_too_few_images_and_different_images_are_refused():
    with pytest.raises(OptionError, match="CKA needs at least 4 images, got 3"):
        linear_cka(normal(3, 5), normal(3, 5))
    with pytest.raises(OptionError, match="CKA needs at least 4 images, got 3"):
        hsic(normal(3, 3), normal(3, 3))
    with pytest.raises(OptionError, match="features of 5 and of 6 images"):
        linear_cka(normal(5, 2), normal(6, 2))
    with pytest.raises(OptionError, match="features of 5 and of 6 images"):
        hsic(normal(5, 5), normal(6, 6))
    assert linear_cka(normal(4, 5), normal(4, 5)).item() == pytest.approx(1)
