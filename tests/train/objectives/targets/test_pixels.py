"""Pixel targets: the three distances, resolutions, and pictures of predictions."""

import numpy as np
import pytest
import torch

from mimprobe.train.objectives.targets.pixels import Pixels
from mimprobe.train.objectives.targets.windowed import normalised_in_windows

SLOW = {
    "l1": abs,
    "l2": lambda d: d * d,
    "smooth_l1": lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5,
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("loss", SLOW)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_errors_are_the_distance_from_the_mean_of_the_square(make_config, loss, scale):
    target = Pixels(make_config(loss=loss, target_scale=scale))
    images, predicted = drawn(2, 3, 8, 4), drawn(2, 3, 8 // scale, 4 // scale, seed=1)
    found = target.errors(predicted, images).numpy()
    x, p = images.numpy(), predicted.numpy()
    for b, row, column in np.ndindex(2, 8 // scale, 4 // scale):
        rows, columns = (slice(n * scale, (n + 1) * scale) for n in (row, column))
        errors = [SLOW[loss](p[b, c, row, column] - x[b, c, rows, columns].mean())
                  for c in range(3)]  # fmt: skip
        assert found[b, row, column] == pytest.approx(sum(errors) / 3, abs=1e-12)


@pytest.mark.parametrize("window", [0, 5])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_perfect_prediction_has_no_error(make_config, window, scale):
    target = Pixels(make_config(norm_window=window, target_scale=scale))
    images = drawn(2, 3, 8, 8)
    wanted = normalised_in_windows(images, window) if window else images
    perfect = torch.nn.functional.avg_pool2d(wanted, scale)
    assert target.errors(perfect, images).max() < 1e-12
    picture = target.picture(perfect, images)
    assert picture.shape == images.shape
    if scale == 1:
        torch.testing.assert_close(picture, images)
