"""A mean with its 95 % interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t

from mimprobe.claims.estimates import Estimate, errors_of, estimate, with_seeds, within


@given(arrays(float, st.integers(2, 30), elements=st.floats(-1e6, 1e6)))
def test_an_estimate_is_the_mean_with_students_interval(values):
    found = estimate(values)
    mean = math.fsum(values) / len(values)
    quantile = t.ppf(0.975, len(values) - 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert found.value == pytest.approx(mean, abs=1e-9)
    assert found.reach == pytest.approx(quantile * math.sqrt(variance / len(values)), abs=1e-6)
    assert found.n == len(values)


def test_ends_of_the_interval():
    found = within(5.0, 2.0)
    assert (found.low, found.high) == (3.0, 7.0)
    assert math.isnan(Estimate(5.0).low)


@pytest.mark.parametrize("images", [5, 16, 100])
def test_the_interval_covers_the_truth_95_times_in_100(images):
    draw = np.random.default_rng(0)
    found = [estimate(draw.normal(3, 2, images)) for _ in range(2000)]
    covered = np.mean([one.low <= 3 <= one.high for one in found])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_images_without_a_value_are_left_out():
    with_gaps = estimate(np.array([1.0, np.nan, 2.0, 6.0, np.inf]))
    assert with_gaps == estimate(np.array([1.0, 2.0, 6.0]))


def test_one_image_has_no_interval_and_none_has_no_value():
    one, none = estimate(np.array([4.0, np.nan])), estimate(np.array([np.nan]))
    assert one.value == 4
    assert math.isnan(one.reach)
    assert math.isnan(none.value)


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("between", [0.0, 0.3, 3.0])
def test_with_seeds_covers_the_truth(seeds, between):
    """Of 16 images, which alone have a standard error of 0.25; two quantities have seeds."""
    draw, hits = np.random.default_rng(seeds), 0
    for _ in range(1000):
        moved = between * draw.standard_normal((2, seeds))
        noise = draw.standard_normal(16)
        found, _ = with_seeds(noise + moved[0].mean() - moved[1].mean(), *(moved + noise.mean()))
        hits += found.low <= 0 <= found.high
    assert hits / 1000 >= 0.92


def test_one_seed_adds_nothing_and_one_image_has_no_interval():
    values = np.array([1.0, 2.0, 4.0, np.nan])
    found, se = with_seeds(values, np.array([5.0]), np.array([]))
    alone = estimate(values)
    assert (found.value, found.low, found.high, found.n) == pytest.approx(
        (alone.value, alone.low, alone.high, 3)
    )
    assert se == pytest.approx(alone.reach / errors_of(3))
    one, none = with_seeds(values[:1], np.array([1.0, 2.0]))
    assert np.isnan([none, one.low]).all()
    assert with_seeds(np.ones(9), np.ones(3))[0].reach == 0
