"""Which layers and heads a quantity is taken over."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import per_image_of

from mimprobe.claims.quantities import (
    all_layers,
    end_layers,
    first_half,
    heads_by_layer,
    last_three,
    layer_mean,
    least_local,
    lower_quartile,
    mean_spread,
)

# (layer, head, image): the hundreds count layers, the tens heads, the ones images.
NUMBERS = np.add.outer(np.add.outer(np.arange(6) * 100, np.arange(3) * 10), np.arange(4.0))


@pytest.mark.parametrize(
    ("depth", "ends", "half", "three"),
    [
        (1, [0], [0], []), (2, [1], [0], [1]), (3, [2], [0], [1, 2]), (4, [3], [0, 1], [2, 3]),
        (6, [4, 5], [0, 1, 2], [3, 4, 5]), (12, [8, 9, 10, 11], [*range(6)], [9, 10, 11]),
    ],
)  # fmt: skip
def test_parts_of_a_network(depth, ends, half, three):
    assert list(all_layers(depth)) == list(range(depth))
    assert list(end_layers(depth)) == ends
    assert list(first_half(depth)) == half
    assert list(last_three(depth)) == three


@pytest.mark.parametrize("depth", range(1, 60))
def test_before_and_after_never_overlap(depth):
    assert not set(first_half(depth)) & set(last_three(depth))
    assert 1 <= len(end_layers(depth)) <= depth


def test_the_mean_over_layers_and_heads_is_one_value_for_each_image():
    values = per_image_of({("m", "head_kl"): NUMBERS, ("m", "prefix_mass"): -NUMBERS})
    found = layer_mean(values, ["m"], "head_kl", end_layers)
    np.testing.assert_allclose(found["m"], NUMBERS[4:].mean((0, 1)))
    found = layer_mean(values, ["m"], "head_kl", first_half)
    np.testing.assert_allclose(found["m"], NUMBERS[:3].mean((0, 1)))


def test_heads_of_some_layers_by_image_in_the_order_of_their_names():
    values = per_image_of({("m", "head_kl"): NUMBERS, ("n", "head_kl"): -NUMBERS})
    values = replace(values, images=("b", "d", "a", "c"))
    last, *rest = heads_by_layer(values, "m", "head_kl", lambda depth: range(depth - 1, depth))
    assert rest == []
    np.testing.assert_array_equal(last, NUMBERS[5].T[[2, 0, 3, 1]])


def test_heads_and_layers_without_any_value_are_left_out():
    numbers = NUMBERS.copy()
    numbers[4, 1], numbers[5] = np.nan, np.nan
    values = per_image_of({("m", "head_kl"): numbers})
    (found,) = heads_by_layer(values, "m", "head_kl", end_layers)
    np.testing.assert_array_equal(found, NUMBERS[4, [0, 2]].T)
    assert heads_by_layer(values, "m", "prefix_mass", end_layers) == []


MEANS = [np.array([[4.0, 1, 2], [0, 0, 9]]), np.array([[8.0, 3], [5, 5]])]
"""Two draws of a layer with three heads and one with two."""


def test_what_is_chosen_among_heads():
    np.testing.assert_allclose(mean_spread(MEANS), [(3 + 5) / 2, (9 + 0) / 2])
    np.testing.assert_allclose(least_local(MEANS), [3, 5])
    np.testing.assert_allclose(lower_quartile(MEANS), [2, 0])  # of 1 2 3 4 8 and 0 0 5 5 9


def test_models_without_the_metric_are_left_out():
    values = per_image_of({("m", "head_kl"): NUMBERS, ("n", "head_kl"): NUMBERS * np.nan})
    assert list(layer_mean(values, ["n", "m", "resnet"], "head_kl", all_layers)) == ["m"]
    assert layer_mean(values, ["m"], "prefix_mass", all_layers) == {}
    assert heads_by_layer(values, "n", "head_kl", all_layers) == []


def test_images_without_a_value_stay_without_one():
    numbers = NUMBERS.copy()
    numbers[5, :, 1] = np.nan
    numbers[:, :, 2] = np.nan
    values = per_image_of({("m", "head_kl"): numbers})
    found = layer_mean(values, ["m"], "head_kl", end_layers)["m"]
    np.testing.assert_array_equal(np.isnan(found), [False, False, True, False])
    assert found[1] == pytest.approx(NUMBERS[4, :, 1].mean())


def test_a_network_with_one_layer_has_no_last_three():
    values = per_image_of({("m", "head_kl"): NUMBERS[:1]})
    assert layer_mean(values, ["m"], "head_kl", last_three) == {}
