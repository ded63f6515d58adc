"""One number for how alike layers are."""

import numpy as np
import pytest
from synthetic import Spec, make_result

from mimprobe.claims.alikeness import last_layers_alike, layers_alike, models_alike

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
