"""A mean with its 95 % interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mimprobe.claims.estimates import Estimate, estimate


@given(arrays(float, st.integers(2, 30), elements=st.floats(-1e6, 1e6)))
def test_an_estimate_is_the_mean_within_196_standard_errors(values):
    found = estimate(values)
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert found.value == pytest.approx(mean, abs=1e-9)
    assert found.reach == pytest.approx(1.96 * math.sqrt(variance / len(values)), abs=1e-9)


def test_ends_of_the_interval():
    found = Estimate(5.0, 2.0)
    assert (found.low, found.high) == (3.0, 7.0)
    assert math.isnan(Estimate(5.0).low)


def test_the_interval_covers_the_truth_95_times_in_100():
    draw = np.random.default_rng(0)
    found = [estimate(draw.normal(3, 2, 100)) for _ in range(2000)]
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
