"""Reach and breadth of kernels: loops in float64, closed forms, properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mimprobe.measures.kernels import kernel_distance, kernel_entropy, kernel_entropy_normalised


def by_loops(kernel, spacing):
    """Distance and entropy of one kernel, tap by tap."""
    rows, columns = kernel.shape
    total = sum(abs(kernel[r, c]) for r in range(rows) for c in range(columns))
    distance = entropy = 0.0
    for r in range(rows):
        for c in range(columns):
            share = abs(kernel[r, c]) / total
            down, across = (r - (rows - 1) / 2) * spacing[0], (c - (columns - 1) / 2) * spacing[1]
            distance += share * math.sqrt(down**2 + across**2)
            entropy -= share * math.log(share) if share > 0 else 0.0
    return distance, entropy


@pytest.mark.parametrize("shape", [(7, 7), (4, 4), (1, 11), (11, 1), (2, 5), (31, 31)])
@pytest.mark.parametrize("spacing", [(4, 4), (32, 32), (8, 24)])
def test_loops_in_float64_agree(shape, spacing):
    kernels = np.random.default_rng(0).standard_normal((6, *shape))
    kernels[1, 0, 0] = 0
    expected = np.array([by_loops(kernel, spacing) for kernel in kernels])
    found = torch.from_numpy(kernels)
    np.testing.assert_allclose(kernel_distance(found, spacing), expected[:, 0], rtol=1e-12)
    np.testing.assert_allclose(kernel_entropy(found), expected[:, 1], rtol=1e-12)
    single = found.float()
    np.testing.assert_allclose(kernel_distance(single, spacing), expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(kernel_entropy(single), expected[:, 1], rtol=1e-6)


def test_a_uniform_kernel_of_7_by_7():
    kernels = torch.full((2, 7, 7), -0.3)
    steps = 4 * (1 + 2 + 3.0)  # on the axes
    steps += 4 * (math.sqrt(2) * (1 + 2 + 3) + 2 * (5**0.5 + 10**0.5 + 13**0.5))
    assert steps / 49 == pytest.approx(2.6525, abs=5e-5)
    np.testing.assert_allclose(kernel_distance(kernels, (4, 4)), 4 * steps / 49)
    np.testing.assert_allclose(kernel_entropy(kernels), math.log(49))
    np.testing.assert_allclose(kernel_entropy_normalised(kernels), 1)


def test_one_tap_in_the_middle_and_in_a_corner():
    kernels = torch.zeros(2, 5, 3)
    kernels[0, 2, 1] = -2
    kernels[1, 4, 0] = 1e-30
    np.testing.assert_allclose(kernel_distance(kernels, (8, 16)), [0, math.hypot(16, 16)])
    np.testing.assert_allclose(kernel_entropy(kernels), 0, atol=1e-15)


def test_an_even_kernel_has_its_centre_between_taps():
    kernels = torch.ones(1, 2, 2)
    assert kernel_distance(kernels, (4, 4)).item() == pytest.approx(2 * math.sqrt(2))


def test_zeros_and_nan_give_nan():
    kernels = torch.ones(3, 3, 3)
    kernels[0] = 0
    kernels[1, 0, 0] = torch.nan
    for found in (kernel_distance(kernels, (1, 1)), kernel_entropy(kernels)):
        assert found.isnan().tolist() == [True, True, False]


ARRAYS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9),
    elements=st.floats(-8, 8, allow_subnormal=False),
).filter(lambda kernel: np.abs(kernel).sum() > 1e-3)  # fmt: skip


@given(ARRAYS, st.floats(0.01, 100))
def test_scale_sign_and_mirrors_change_nothing_and_bounds_hold(kernel, factor):
    one = torch.from_numpy(kernel)[None]
    distance, entropy = kernel_distance(one, (4, 4)), kernel_entropy(one)
    for other in (-factor * one, one.flip(1), one.flip(2), one.mT):
        assert torch.allclose(kernel_distance(other, (4, 4)), distance, atol=1e-9)
        assert torch.allclose(kernel_entropy(other), entropy, atol=1e-9)
    assert torch.allclose(kernel_distance(one, (8, 8)), 2 * distance)
    assert 0 <= distance.item() <= 2 * math.hypot(*(side - 1 for side in kernel.shape)) + 1e-9
    assert -1e-9 <= kernel_entropy_normalised(one).item() <= 1 + 1e-9
