"""The table of differences: paired by image, antisymmetric, and only where models compare."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from synthetic import MIXED, Spec, make_result, per_image_of

from mimprobe.claims import DIFFERENCE_COLUMNS, differences

A = np.array([[[1.0, 2, 3, 6], [3, 4, 5, 8]], [[2, 2, 2, 2], [4, 4, 4, 4]]])
B = np.array([[[0.0, 1, 2, 3], [0, 1, 2, 3]], [[1, 2, 3, 4], [1, 2, 3, 4]]])
"""Two layers, two heads, four images; layer means 2 3 4 7 and 3 3 3 3, 0 1 2 3 and 1 2 3 4."""
T3 = 3.182446305


def table_of(*names, known=None):
    specs = [Spec(name, kind, depth=2, heads=2) for name, kind in names]
    values = {("a", "head_kl"): A, ("b", "head_kl"): B} if known is None else known
    return differences(replace(make_result(specs, images=4), per_image=per_image_of(values)))


AB = (("a", "mim"), ("b", "supervised"))


def test_numbers_by_hand():
    table = table_of(*AB).set_index(["part", "layer"])
    assert tuple(table.reset_index()[list(DIFFERENCE_COLUMNS)]) == DIFFERENCE_COLUMNS
    assert set(table["unit"]) == {"nats"}
    assert len(table) == 5
    first = table.loc["layer", 0]  # differences 2 2 2 4
    assert (first["value"], first["se"]) == pytest.approx((2.5, 0.5))
    assert (first["low"], first["high"]) == pytest.approx((2.5 - T3 * 0.5, 2.5 + T3 * 0.5))
    assert (first["model"], first["kind"], first["other_model"], first["other_kind"]) == (
        "a", "mim", "b", "supervised",
    )  # fmt: skip
    assert first["n"] == 4
    second = table.loc["layer", 1]  # differences 2 1 0 -1
    assert (second["value"], second["se"]) == pytest.approx((0.5, np.sqrt(5 / 3) / 2))
    whole = table.xs("all layers")  # differences 2 1.5 1 1.5
    assert whole["value"].item() == pytest.approx(1.5)
    assert whole["se"].item() == pytest.approx(np.sqrt(1 / 6) / 2)
    assert table.xs("first half")["value"].item() == pytest.approx(2.5)
    assert table.xs("last third")["value"].item() == pytest.approx(0.5)


def test_turning_the_models_round_turns_the_signs():
    one, other = table_of(*AB), table_of(*AB[::-1])
    np.testing.assert_allclose(one["value"], -other["value"])
    np.testing.assert_allclose(one["low"], -other["high"])
    np.testing.assert_allclose(one["se"], other["se"])
    assert list(one["model"]) == list(other["other_model"])


def test_images_without_a_value_count_for_neither():
    known = {("a", "head_kl"): A.copy(), ("b", "head_kl"): B.copy()}
    known["a", "head_kl"][0, :, 3] = np.nan
    known["b", "head_kl"][1, :, :3] = np.nan
    table = table_of(*AB, known=known)
    first, second = (table[table["layer"] == at].iloc[0] for at in (0, 1))
    assert (first["value"], first["se"], first["n"]) == (2, 0, 3)
    assert (second["value"], second["n"]) == (-1, 1)
    assert second[["se", "low", "high"]].isna().all()


def test_models_of_different_depth_compare_by_parts_only():
    table = differences(make_result(MIXED, images=5))
    depths = {spec.name: spec.depth for spec in MIXED if spec.attention}
    for (one, other), rows in table.groupby(["model", "other_model"]):
        assert ("layer" in set(rows["part"])) == (depths[one] == depths[other])
        assert {"all layers", "first half", "last third"} <= set(rows["part"])
    pairs = set(zip(table["model"], table["other_model"], strict=True))
    assert pairs == set(itertools.combinations(depths, 2))


@pytest.mark.parametrize("specs", [[], [Spec("a")], [Spec("r", family="resnet", heads=0)] * 1])
def test_nothing_to_compare_gives_an_empty_table(specs):
    table = differences(make_result(specs))
    assert table.empty
    assert tuple(table.columns) == DIFFERENCE_COLUMNS
