"""Normalisation in windows against its definition, pixel by pixel in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.train.objectives.targets.windowed import moments_in_windows, normalised_in_windows


def slowly(images, window):
    """Restate SwinV2's code: means without padding, unbiased variance, counts at the borders."""
    out = np.zeros_like(images)
    reach = window // 2
    for b, c, y, x in np.ndindex(images.shape):
        cut = images[b, c, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        count = cut.size
        mean = cut.sum() / count
        variance = max(0.0, ((cut**2).sum() / count - mean**2) * count / (count - 1))
        out[b, c, y, x] = (images[b, c, y, x] - mean) / np.sqrt(variance + 1e-6)
    return out


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(2, 9), columns=st.integers(2, 9), window=st.sampled_from([3, 5, 47]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_the_definition_with_the_counts_of_the_borders(rows, columns, window, seed):
    images = np.random.default_rng(seed).normal(size=(2, 3, rows, columns))
    found = normalised_in_windows(torch.from_numpy(images), window).numpy()
    np.testing.assert_allclose(found, slowly(images, window), rtol=0, atol=1e-8)


def test_it_is_the_original_arithmetic_in_float32_at_its_size():
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    pool = torch.nn.functional.avg_pool2d
    wide = images.double()
    mean = pool(wide, 47, 1, 23, count_include_pad=False)
    square = pool(wide**2, 47, 1, 23, count_include_pad=False)
    count = pool(torch.ones_like(wide), 47, 1, 23, count_include_pad=True) * 47**2
    variance = ((square - mean**2) * (count / (count - 1))).clamp(min=0)
    expected = (wide - mean) / (variance + 1e-6) ** 0.5
    found = normalised_in_windows(images, 47)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_a_flat_image_has_no_spread_and_stays_finite():
    flat = torch.full((1, 3, 8, 8), 2.5)
    mean, variance = moments_in_windows(flat, 5)
    assert torch.equal(mean, flat)
    assert variance.abs().max() < 1e-12
    assert normalised_in_windows(flat, 5).abs().max() < 1e-3


def test_the_corner_counts_a_quarter_of_the_window():
    image = torch.arange(36.0).view(1, 1, 6, 6)
    mean, variance = moments_in_windows(image, 3)
    corner = image[0, 0, :2, :2]
    assert mean[0, 0, 0, 0] == pytest.approx(corner.mean().item())
    assert variance[0, 0, 0, 0] == pytest.approx(corner.var(unbiased=True).item(), rel=1e-6)
