"""Losses of layer tests, by image and by seed, against loops over the same numbers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_tables import PAIR, curve_result

from mimprobe.claims.losses import dearest_readout, mean_loss, points_of

NUMBERS = np.random.default_rng(0).random((3, 4, 5))
"""Three seeds, none, two, three and four blocks changed, five images."""


def loss_of(numbers, chosen, result=None):
    found = result or curve_result(PAIR, {("m", "swap"): numbers})
    return mean_loss(found["layer_swap"], found.per_image, "m", "knn_accuracy", chosen)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.sets(st.integers(2, 5), min_size=1))
def test_losses_by_image_and_by_seed(seeds, images, points):
    numbers = np.random.default_rng(seeds).random((seeds, 5, images))
    found = loss_of(numbers, lambda changed: changed in points)
    for image in range(images):
        left = [numbers[seed, at - 1, image] for seed in range(seeds) for at in points]
        whole = sum(numbers[:, 0, image]) / seeds
        assert found.images[image] == pytest.approx(whole - sum(left) / len(left), abs=1e-6)
    for seed in range(seeds):
        left = [numbers[seed, at - 1].mean() for at in points]
        assert found.seeds[seed] == pytest.approx(numbers[seed, 0].mean() - sum(left) / len(left))
    assert found.images.mean() == pytest.approx(found.seeds.mean(), abs=1e-6)


def test_an_intact_network_without_seeds_stands_for_all():
    result = curve_result(PAIR, {("m", "swap"): NUMBERS})
    table = result["layer_swap"]
    intact, mean = table["changed"] == 0, table["seed"].isna()
    once = {"layer_swap": table[~intact | mean]}
    found = loss_of(None, lambda changed: changed == 3, type(result)(once, {}, result.per_image))
    np.testing.assert_allclose(found.seeds, NUMBERS[:, 0].mean() - NUMBERS[:, 2].mean(1))


def test_an_image_without_a_value_at_one_point_has_no_loss():
    numbers = NUMBERS.copy()
    numbers[:, 2, 4] = np.nan
    assert np.isnan(loss_of(numbers, lambda changed: changed in (2, 3)).images[4])
    assert np.isfinite(loss_of(numbers, lambda changed: changed == 2).images).all()


def test_without_an_intact_network_or_points_there_is_none():
    assert loss_of(NUMBERS, lambda changed: changed > 9) is None
    result = curve_result(PAIR, {("m", "swap"): NUMBERS[:, 1:]}, points=[2, 3, 4])
    assert loss_of(None, lambda changed: changed == 2, result) is None
    empty = pd.DataFrame(columns=result["layer_swap"].columns)
    assert mean_loss(empty, result.per_image, "m", "knn_accuracy", bool) is None


def test_points_and_the_dearest_read_out():
    values = curve_result(PAIR, {("m", "swap"): NUMBERS, ("s", "drop"): NUMBERS}).per_image
    assert points_of(values, "swap", "m", "knn_accuracy") == [2, 3, 4]
    assert points_of(values, "swap", "s", "knn_accuracy") == []
    assert dearest_readout(values, "swap", ["m"], lambda points: 4 in points) == "knn_accuracy"
    assert dearest_readout(values, "swap", ["m"], lambda points: 5 in points) is None
    assert dearest_readout(values, "swap", ["m", "s"], lambda points: True) is None
