"""The best layer and pooling of each model."""

import pytest
from readout_table import readout_table

from mimprobe.tables import CHANCE, best_readouts


def test_the_best_row_of_each_model_and_read_out_by_exhaustion():
    table = readout_table()
    best = best_readouts(table)
    assert list(zip(best["model"], best["metric"], strict=True)) == [
        (model, metric) for model in "ab" for metric in ("knn_accuracy", "linear_accuracy")
    ]
    for row in best.to_dict("records"):
        own = table[(table["model"] == row["model"]) & (table["metric"] == row["metric"])]
        assert row["value"] == own["value"].max()
        assert row["layer"] == {"a": 2, "b": 3}[row["model"]]
    assert CHANCE not in set(best["metric"])


def test_the_earliest_of_equal_layers():
    table = readout_table()
    table["value"] = 0.5
    assert set(best_readouts(table.iloc[::-1])["layer"]) == {0}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_pooling_is_chosen_too(pooling):
    table = readout_table()
    table.loc[table["pooling"] == pooling, "value"] += 1
    assert set(best_readouts(table)["pooling"]) == {pooling}
