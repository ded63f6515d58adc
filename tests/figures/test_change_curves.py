"""Curves of layer tests: means over seeds with their bands, from the intact network on."""

import numpy as np
import pandas as pd
import pytest
from layer_tables import CHANCE, THREE, layer_result
from synthetic import Spec

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import change_curves, layer_drop, layer_swap

RESULT = layer_result(images=40)
SWAP, DROP = RESULT["layer_swap"], RESULT["layer_drop"]
MIXED = (Spec("swin", "mim", "swin", stages=(2, 2, 6, 2)), Spec("deep", "supervised", depth=24))


def lines_of(panel):
    return [line for line in panel.lines if line.get_linestyle() not in ("None", ":")]


def known(table, model, metric):
    own = table[(table["model"] == model) & (table["metric"] == metric)]
    return own[own["layer"].isna() & own["seed"].isna()].sort_values("changed")


def test_each_line_is_a_models_mean_over_seeds(figure):
    (panel,) = layer_swap(SWAP, figure=figure, models=[spec.name for spec in THREE[:2]])
    for line, spec in zip(lines_of(panel), THREE[:2], strict=True):
        rows = known(SWAP, spec.name, "knn_accuracy")
        np.testing.assert_array_equal(line.get_xdata(), [0, *range(2, 13)])
        np.testing.assert_array_equal(line.get_ydata(), rows["value"])
    assert panel.get_xlabel() == "blocks that changed places"
    assert panel.get_ylabel() == "accuracy of nearest neighbours"
    top = panel.collections[0].get_paths()[0].vertices[:, 1].max()
    rows = known(SWAP, THREE[0].name, "knn_accuracy")
    assert top == pytest.approx((rows["value"] + 1.96 * rows["se"]).max())


def test_the_axis_ends_where_the_points_do(figure):
    few = DROP[DROP["changed"] <= 3]
    (panel,) = change_curves(few, figure=figure, depths={spec.name: 12 for spec in THREE})
    low, high = panel.get_xlim()
    assert -0.5 < low < 0
    assert 3 < high < 3.5


def test_chance_is_a_line_of_accuracy_only(figure):
    (panel,) = change_curves(DROP, chance=CHANCE, figure=figure)
    (line,) = [line for line in panel.lines if line.get_linestyle() == ":" and
               len(line.get_xdata()) == 2]  # fmt: skip
    assert list(line.get_ydata()) == [CHANCE, CHANCE]
    assert panel.get_ylim()[0] < CHANCE
    assert "chance" in [text.get_text() for text in panel.texts]
    figure.clear()
    (panel,) = change_curves(DROP, metric="drift", chance=CHANCE, figure=figure)
    assert "chance" not in [text.get_text() for text in panel.texts]
    assert panel.get_ylabel() == "CKA to the intact network"
    assert panel.get_xlabel() == "last blocks left out"


def test_models_of_different_depth_are_drawn_over_shares(figure):
    table = layer_result(MIXED, images=20)["layer_swap"]
    (panel,) = change_curves(table, figure=figure, depths={"swin": 12})
    swin, deep = lines_of(panel)
    assert swin.get_xdata()[-1] == deep.get_xdata()[-1] == 1.0
    assert deep.get_xdata()[1] == pytest.approx(2 / 24)
    assert panel.get_xlabel() == "blocks that changed places (share of all)"


def test_the_dearest_read_out_is_drawn(figure):
    dear = SWAP[SWAP["metric"] == "knn_accuracy"].assign(metric="finetune_accuracy")
    both = pd.concat([SWAP, dear], ignore_index=True)
    (panel,) = layer_swap(both, figure=figure)
    assert panel.get_ylabel() == "accuracy after fine-tuning"


def test_what_is_missing_is_told(figure):
    with pytest.raises(UnknownNameError, match="linear_accuracy"):
        change_curves(SWAP, metric="linear_accuracy", figure=figure)
    with pytest.raises(OptionError, match="the table is empty"):
        layer_drop(DROP[:0], figure=figure)
    with pytest.raises(UnknownNameError, match="nobody"):
        layer_drop(DROP, models=["nobody"], figure=figure)
    with pytest.raises(OptionError, match="1 panels, but 2 axes"):
        layer_drop(DROP, axes=figure.subplots(2))
