"""Maps of heads: loss by layer and head, white in the middle of the scale."""

import numpy as np
import pytest
from layer_tables import THREE, layer_result

from mimprobe.errors import OptionError
from mimprobe.figures import head_maps, layer_heads

RESULT = layer_result(images=40)
HEADS = RESULT["layer_heads"]


@pytest.mark.parametrize("metric", ["drift", "knn_accuracy"])
def test_each_cell_is_the_loss_without_a_head(figure, metric):
    panels = head_maps(HEADS, metric=metric, figure=figure)
    for panel, spec in zip(panels, THREE, strict=True):
        own = HEADS[(HEADS["model"] == spec.name) & (HEADS["metric"] == metric)]
        own = own[own["seed"].isna()]
        masked = own[(own["layer"] == 5) & (own["head"] == 2)]["value"].item()
        intact = own[own["changed"] == 0]["value"].item()
        values = panel.images[0].get_array()
        assert values.shape == (12, 8)
        assert values[5, 2] == pytest.approx(intact - masked)
    norm = panels[0].images[0].norm
    assert norm.vmin == -norm.vmax
    assert norm.vmax == pytest.approx(max(abs(panel.images[0].get_array()).max()
                                          for panel in panels))  # fmt: skip
    assert [panel.get_xlabel() for panel in panels] == ["head"] * 3


def test_layers_with_fewer_heads_leave_cells_empty(figure):
    few = HEADS[~((HEADS["layer"] < 4) & (HEADS["head"] >= 3)).fillna(False)]
    panel = layer_heads(few, figure=figure)[0]
    empty = np.isnan(np.ma.filled(panel.images[0].get_array(), np.nan))
    assert empty.sum() == 4 * 5


def test_tables_without_heads_or_intact_network_are_told(figure):
    for table in (RESULT["layer_drop"], HEADS[HEADS["changed"] > 0]):
        with pytest.raises(OptionError, match="of single heads and of the intact network"):
            head_maps(table, figure=figure)
    head_maps(HEADS.assign(value=0.5), figure=figure)
