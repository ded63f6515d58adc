"""Paired differences of layer tests: by image, by point, with the variance between seeds."""

import numpy as np
import pytest
from layer_tables import PAIR, curve_result, layer_result
from synthetic import THREE, make_result

from mimprobe.claims import LAYER_DIFFERENCE_COLUMNS, differences, layer_test_differences

A = np.array([[[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]]], dtype=float)
B = np.array([[[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0]]], dtype=float)
"""One seed, none, two and three blocks changed, four images."""


def test_numbers_by_hand():
    table = layer_test_differences(curve_result(PAIR, {("m", "swap"): A, ("s", "swap"): B}))
    assert tuple(table.columns) == LAYER_DIFFERENCE_COLUMNS
    assert list(table["changed"]) == [2, 3]
    first, second = table.to_dict("records")
    # losses of m 0 1 0 1 and of s 0 0 0 0; then 1 1 1 1 and 0 0 1 0
    assert (first["value"], first["se"]) == pytest.approx((0.5, np.sqrt(1 / 3) / 2))
    assert first["high"] - first["value"] == pytest.approx(3.182446305 * first["se"])
    assert (second["value"], second["se"]) == pytest.approx((0.75, 0.25))
    assert (first["test"], first["metric"], first["model"], first["other_model"], first["n"]) == (
        "swap", "knn_accuracy", "m", "s", 4,
    )  # fmt: skip


def test_turning_the_models_round_turns_the_signs():
    one, other = (layer_test_differences(layer_result(specs, images=30)) for specs in
                  (PAIR, PAIR[::-1]))  # fmt: skip
    assert set(zip(one["model"], one["other_model"], strict=True)) == {("m", "s")}
    known = {("m", "swap"): A, ("s", "swap"): B}
    one, other = (layer_test_differences(curve_result(specs, known)) for specs in
                  (PAIR, PAIR[::-1]))  # fmt: skip
    np.testing.assert_allclose(one["value"], -other["value"])
    np.testing.assert_allclose(one["low"], -other["high"])
    np.testing.assert_allclose(one["se"], other["se"])


def test_seeds_widen_the_interval():
    seeds = np.array([0.0, 0.3, -0.3])[:, None, None] * [[0], [1], [1]]
    moved = layer_test_differences(
        curve_result(PAIR, {("m", "swap"): A + seeds, ("s", "swap"): B + 0 * seeds})
    )
    still = layer_test_differences(curve_result(PAIR, {("m", "swap"): A, ("s", "swap"): B}))
    np.testing.assert_allclose(moved["value"], still["value"], atol=1e-6)
    np.testing.assert_allclose(moved["se"] ** 2, still["se"] ** 2 + 0.09 / 3, rtol=1e-5)


def test_only_points_that_both_models_have():
    known = {("m", "drop"): A, ("s", "drop"): B[:, :2]}
    assert list(layer_test_differences(curve_result(PAIR, known))["changed"]) == [1]


def test_other_results_have_none_and_layer_tests_no_layer_means():
    assert layer_test_differences(make_result(THREE)).empty
    assert differences(layer_result(images=20)).empty
