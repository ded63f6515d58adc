"""Maps of exchanges: cells by both blocks, the intact network on the diagonal, grey elsewhere."""

import numpy as np
import pytest
from layer_tables import THREE, layer_result
from synthetic import Spec

from mimprobe.errors import OptionError
from mimprobe.figures import exchange_maps

RESULT = layer_result(images=40)
SWAP = RESULT["layer_swap"]
SWIN = Spec("swin", "mim", "swin", stages=(2, 2, 6, 2))


def cells(panel):
    return np.ma.filled(panel.images[0].get_array().astype(float), np.nan)


def test_each_cell_is_the_drift_of_one_exchange(figure):
    panels = exchange_maps(SWAP, metric="drift", figure=figure)
    rows = SWAP[SWAP["metric"] == "drift"]
    for panel, spec in zip(panels, THREE, strict=True):
        own, values = rows[rows["model"] == spec.name], cells(panel)
        one = own[(own["layer"] == 3) & (own["other_layer"] == 7)]["value"].item()
        assert values[3, 7] == one
        intact = own[(own["changed"] == 0) & own["seed"].isna()]["value"].item()
        np.testing.assert_array_equal(np.diag(values), intact)
        assert values.shape == (12, 12)
    assert len({panel.images[0].norm.vmin for panel in panels}) == 1
    assert panels[0].images[0].norm.vmax == pytest.approx(np.nanmax([cells(p) for p in panels]))


def test_each_cell_is_the_accuracy_that_one_exchange_loses(figure):
    panels = exchange_maps(SWAP, metric="knn_accuracy", figure=figure)
    rows = SWAP[SWAP["metric"] == "knn_accuracy"]
    for panel, spec in zip(panels, THREE, strict=True):
        own, values = rows[rows["model"] == spec.name], cells(panel)
        intact = own[(own["changed"] == 0) & own["seed"].isna()]["value"].item()
        one = own[(own["layer"] == 3) & (own["other_layer"] == 7)]["value"].item()
        assert values[3, 7] == intact - one
        np.testing.assert_array_equal(np.diag(values), 0)
    norms = {(panel.images[0].norm.vmin, panel.images[0].norm.vmax) for panel in panels}
    largest = np.nanmax(np.abs([cells(panel) for panel in panels]))
    assert norms == {(-largest, largest)}


def test_nothing_is_lost_of_a_network_that_was_not_measured(figure):
    changed = SWAP[SWAP["changed"] > 0]
    with pytest.raises(OptionError, match="no knn_accuracy of the intact network to lose"):
        exchange_maps(changed, metric="knn_accuracy", figure=figure)
    assert exchange_maps(changed, metric="drift", figure=figure)


def test_layers_count_from_1(figure):
    (panel,) = exchange_maps(SWAP, models=[THREE[0].name], figure=figure)
    ticks = dict(zip(panel.get_xticks(), panel.get_xticklabels(), strict=True))
    assert ticks[0].get_text() == "1"
    assert ticks[11].get_text() == "12"


def test_what_cannot_be_exchanged_is_empty(figure):
    table = layer_result([SWIN], images=20)["layer_swap"]
    (panel,) = exchange_maps(table, figure=figure, depths={"swin": 12})
    values = cells(panel)
    assert values.shape == (12, 12)
    pairs = {(row, column) for row, column in np.argwhere(np.isfinite(values)) if row != column}
    assert pairs == {
        (one, other) for one in range(4, 10) for other in range(4, 10)
        if one != other and (one - other) % 2 == 0
    }  # fmt: skip


def test_a_table_without_exchanges_is_told(figure):
    with pytest.raises(OptionError, match="no knn_accuracy of two blocks that changed places"):
        exchange_maps(RESULT["layer_drop"], figure=figure)


def test_equal_values_and_no_values_are_drawn(figure):
    even = SWAP.assign(value=0.5)
    assert exchange_maps(even, figure=figure)[0].images[0].norm.vmax == 1
    figure.clear()
    assert exchange_maps(even, metric="drift", figure=figure)[0].images[0].norm.vmin == 0.5
    figure.clear()
    exchange_maps(SWAP.assign(value=np.nan), metric="drift", figure=figure)
