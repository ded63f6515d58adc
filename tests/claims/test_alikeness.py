"""One number for how alike layers are."""

import numpy as np
import pandas as pd
import pytest
from synthetic import Spec, make_result

from mimprobe.claims.alikeness import (
    last_layers_alike,
    layers_alike,
    layers_more_alike,
    models_alike,
)

SPECS = (Spec("a", depth=3, heads=2), Spec("b", depth=2, heads=2))


@pytest.fixture
def table():
    table = make_result(SPECS)["cka"].copy()
    draw = np.random.default_rng(0)
    table["value"], table["se"] = draw.random(len(table)), draw.random(len(table))
    return table


def value(table, *place):
    keys = ["model", "layer", "other_model", "other_layer"]
    (row,) = table[(table[keys] == list(place)).all(axis=1)].itertuples()
    return row.value, row.se


def test_within_a_model_each_pair_of_different_layers_counts_once(table):
    pairs = [value(table, "a", *pair) for pair in ((0, "a", 1), (0, "a", 2), (1, "a", 2))]
    found = layers_alike(table, "a")
    assert found.value == pytest.approx(np.mean([one for one, _ in pairs]))
    assert found.reach == pytest.approx(1.96 * np.mean([se for _, se in pairs]))
    assert models_alike(table, "a", "a") == found


def test_between_models_all_pairs_count(table):
    pairs = [value(table, "a", up, "b", across) for up in range(3) for across in range(2)]
    found = models_alike(table, "a", "b")
    assert found.value == pytest.approx(np.mean([one for one, _ in pairs]))


def test_the_last_layers_of_two_models(table):
    one, se = value(table, "a", 2, "b", 1)
    found = last_layers_alike(table, "a", "b")
    assert (found.value, found.reach) == pytest.approx((one, 1.96 * se))


def test_what_is_not_there_is_none_and_unknown_errors_give_no_interval(table):
    assert layers_alike(make_result([Spec("a", depth=1)])["cka"], "a") is None
    assert last_layers_alike(table, "a", "c") is None
    table.loc[table["layer"] == 0, "se"] = np.nan
    found = layers_alike(table, "a")
    assert np.isfinite(found.value)
    assert np.isnan(found.reach)
    table["value"] = np.nan
    assert layers_alike(table, "a") is None


def test_a_difference_of_two_models_is_jackknifed_where_the_groups_are_known(table):
    groups = {"a": [0.5, 0.6, 0.7, 0.4], "b": [0.2, 0.1, 0.3, 0.3], "c": [0.0] * 4}
    found = layers_more_alike(table, "a", "b", groups)
    apart = layers_alike(table, "a").value - layers_alike(table, "b").value
    left = np.array([0.3, 0.5, 0.4, 0.1])
    se = np.sqrt(3 / 4 * ((left - left.mean()) ** 2).sum())
    assert found.value == pytest.approx(apart)
    assert found.reach == pytest.approx(3.18245 * se, rel=1e-5)
    turned = layers_more_alike(table, "b", "a", groups)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_without_groups_the_bounds_of_both_are_added(table):
    found = layers_more_alike(table, "a", "b", {"a": [0.1, 0.2]})
    assert found.reach == pytest.approx(
        layers_alike(table, "a").reach + layers_alike(table, "b").reach
    )
    assert (
        layers_more_alike(table, "a", "c", {}) == "c has no CKA between two layers in this result"
    )


def test_the_interval_of_real_features_covers_their_true_difference():
    """500 draws of 60 images: features of one model with a strong, of the other a weak common part.

    Of x = u + e and y = u + f with u of d and e, f of variance s each, CKA is 1 / (1 + s)^2.
    """
    images, width, noises, draw = 60, 6, (0.3, 1.0), np.random.default_rng(0)
    truth = (1 + noises[0]) ** -2 - (1 + noises[1]) ** -2
    hits = 0
    for _ in range(500):
        features = [
            shared + np.sqrt(noise) * draw.standard_normal((2, images, width))
            for noise in noises
            for shared in [draw.standard_normal((images, width))]
        ]
        grams = [row @ row.T for pair in features for row in pair]
        order = draw.permutation(images).reshape(20, -1)
        kept = [np.setdiff1d(np.arange(images), group) for group in order]
        left = [[cka(*(gram[np.ix_(k, k)] for gram in grams[at : at + 2])) for k in kept]
                for at in (0, 2)]  # fmt: skip
        values = [cka(*grams[:2]), cka(*grams[2:])]
        rows = pd.DataFrame(
            [(name, 0, name, 1, value, 0.1, images)
             for name, value in zip("ab", values, strict=True)],
            columns=["model", "layer", "other_model", "other_layer", "value", "se", "n"],
        )  # fmt: skip
        found = layers_more_alike(rows, "a", "b", dict(zip("ab", left, strict=True)))
        hits += found.low <= truth <= found.high
    assert hits / 500 >= 0.92


def cka(one, other):
    """Unbiased CKA from two Gram matrices (Song et al. 2012)."""
    crossed, first, second = (hsic(a, b) for a, b in ((one, other), (one, one), (other, other)))
    return crossed / np.sqrt(first * second)


def hsic(one, other):
    n = len(one)
    k, other_k = (gram - np.diag(np.diag(gram)) for gram in (one, other))
    middle = k.sum() * other_k.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(0) @ other_k.sum(0)
    return ((k * other_k).sum() + middle) / (n * (n - 3))
