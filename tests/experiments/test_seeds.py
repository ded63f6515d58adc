"""Means over seeds and images, against their definition written out."""

import math

import pytest
import torch

from mimprobe.experiments.seeds import mean_accuracy, seed_variance


def variance(values):
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def test_the_error_holds_images_and_seeds():
    right = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    found = mean_accuracy(torch.tensor(right, dtype=torch.bool))
    by_image = variance([1, 1, 2 / 3, 1 / 3])
    assert found.value == pytest.approx(0.75)
    assert found.std == pytest.approx(math.sqrt(by_image))
    assert found.se == pytest.approx(math.sqrt(by_image / 4 + variance([0.5, 0.75, 1.0]) / 3))
    assert found.n == 4


def test_one_seed_adds_nothing_and_one_image_has_no_spread():
    one = mean_accuracy(torch.tensor([[True, True, False, False]]))
    assert one.se == pytest.approx(math.sqrt(variance([1, 1, 0, 0]) / 4))
    assert seed_variance([0.5]) == 0.0
    alone = mean_accuracy(torch.tensor([[True]]))
    assert alone.value == 1.0
    assert math.isnan(alone.std)
    assert math.isnan(alone.se)
