"""Relative log amplitudes, against a Fourier transform written out as sums, and NumPy's."""

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimprobe.errors import OptionError
from mimprobe.measures.frequency import ROUNDING, diagonal, relative_log_amplitude

GRIDS = [(4, 4), (14, 14), (7, 7), (6, 9), (3, 8), (1, 6), (2, 2), (5, 3)]


def maps(grid, *, images=2, channels=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(images, math.prod(grid), channels, generator=draw)


def amplitude(image, grid, u, v):
    """One channel after the other, one place after the other."""
    found = []
    for channel in image.T:
        total = 0
        for r in range(grid[0]):
            for c in range(grid[1]):
                turn = u * r / grid[0] + v * c / grid[1]
                total += channel[r * grid[1] + c] * cmath.exp(-2j * math.pi * turn)
        found.append(abs(total))
    return np.array(found)


@pytest.mark.parametrize("grid", GRIDS)
def test_it_is_the_transform_along_the_diagonal(grid):
    patches = maps(grid)
    found = relative_log_amplitude(patches, grid)
    for image, curve in zip(patches.double().numpy(), found.numpy(), strict=True):
        logs = [np.log(amplitude(image, grid, u, v)) for u, v in diagonal(grid)]
        np.testing.assert_allclose(curve, [np.mean(log - logs[0]) for log in logs], rtol=1e-9,
                                   atol=1e-12)  # fmt: skip


def test_numpys_transform_agrees():
    patches = maps((14, 14), channels=16)
    cube = patches.double().numpy().reshape(2, 14, 14, 16)
    logs = np.log(np.abs(np.fft.fft2(cube, axes=(1, 2))))
    expected = [(logs[:, k, k] - logs[:, 0, 0]).mean(-1) for k in range(8)]
    np.testing.assert_allclose(
        relative_log_amplitude(patches, (14, 14)).numpy(), np.transpose(expected), rtol=1e-9,
        atol=1e-12,
    )  # fmt: skip


def test_the_diagonal_of_even_odd_and_uneven_grids():
    assert diagonal((14, 14)) == tuple((k, k) for k in range(8))
    assert diagonal((7, 7)) == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert diagonal((4, 8)) == ((0, 0), (1, 1), (1, 2), (2, 3), (2, 4))
    assert diagonal((1, 6)) == ((0, 0), (0, 1), (0, 2), (0, 3))
    assert diagonal((56, 56)) == tuple((4 * k, 4 * k) for k in range(8))
    assert diagonal((1, 1)) == ((0, 0),)


def test_a_checkerboard_on_a_constant_is_known():
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    board = 1.0 - 2.0 * ((rows + columns) % 2)
    curve = relative_log_amplitude((5 + 2 * board).reshape(1, 48, 1), (6, 8))[0]
    assert curve[-1].item() == pytest.approx(math.log(2 / 5), abs=1e-12)
    assert curve[1:-1].max().item() == pytest.approx(math.log(ROUNDING), abs=0.5)


def test_white_noise_is_flat():
    curve = relative_log_amplitude(maps((14, 14), images=40, channels=64), (14, 14)).mean(0)
    # At zero and at the checkerboard the transform is real: E log|N| is 0.635 below E log|C|.
    assert curve[-1].item() == pytest.approx(0, abs=0.1)
    np.testing.assert_allclose(curve[1:-1], 0.635 - 0.29, atol=0.1)


def test_smooth_maps_are_low_in_high_frequencies():
    row = torch.linspace(-1, 1, 14)
    hill = torch.exp(-(row[:, None] ** 2 + row**2)).reshape(1, 196, 1)
    assert relative_log_amplitude(hill, (14, 14))[0, -1] < -6


def test_dead_channels_have_no_say():
    patches = maps((4, 4), channels=3)
    padded = torch.cat([patches, torch.zeros(2, 16, 2)], dim=2)
    torch.testing.assert_close(
        relative_log_amplitude(padded, (4, 4)), relative_log_amplitude(patches, (4, 4))
    )
    assert relative_log_amplitude(torch.zeros(1, 16, 2), (4, 4)).isnan().all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-30, 30), grid=st.sampled_from(GRIDS))
def test_scale_and_a_shift_around_the_image_change_nothing(seed, power, grid):
    patches = maps(grid, seed=seed).double()
    rolled = patches.unflatten(1, grid).roll((1, 2), (1, 2)).flatten(1, 2)
    expected = relative_log_amplitude(patches, grid)
    torch.testing.assert_close(
        relative_log_amplitude(rolled * 2.0**power, grid), expected, rtol=1e-6, atol=1e-6
    )


def test_a_grid_of_another_size_is_refused():
    with pytest.raises(OptionError, match="16 patches on a grid of 4 x 5"):
        relative_log_amplitude(maps((4, 4)), (4, 5))
