"""Single blocks hang from the line of the intact network, by model."""

import numpy as np
import pytest
from layer_tables import THREE, layer_result
from synthetic import Spec

from mimprobe.errors import OptionError
from mimprobe.figures import block_panels, layer_reset

RESULT = layer_result(images=40)


@pytest.mark.parametrize("name", ["layer_drop", "layer_reset"])
@pytest.mark.parametrize("metric", ["drift", "knn_accuracy"])
def test_dots_are_means_over_seeds_and_hang_from_the_intact_network(figure, name, metric):
    table = RESULT[name]
    panels = block_panels(table, metric=metric, figure=figure)
    for panel, spec in zip(panels, THREE, strict=True):
        own = table[(table["model"] == spec.name) & (table["metric"] == metric)]
        own = own[own["seed"].isna()]
        blocks = own[own["layer"].notna()].sort_values("layer")
        intact = own[own["changed"] == 0]["value"].item()
        (dots,) = [line for line in panel.lines if line.get_marker() != "None"]
        np.testing.assert_array_equal(dots.get_xdata(), np.arange(1, 13))
        np.testing.assert_array_equal(dots.get_ydata(), blocks["value"])
        whole = next(line for line in panel.lines if line.get_marker() == "None")
        assert set(whole.get_ydata()) == {intact}
        stems, bars = (part.get_segments() for part in panel.collections)
        np.testing.assert_allclose([stem[1, 1] for stem in stems], intact)
        np.testing.assert_allclose(
            [bar[1, 1] - bar[0, 1] for bar in bars], 2 * 1.96 * blocks["se"], rtol=1e-6
        )
    assert len({panel.get_ylim() for panel in panels}) == 1


def test_deep_and_single_models(figure):
    table = layer_result([Spec("deep", depth=24)], seeds=1, images=20)["layer_reset"]
    (panel,) = layer_reset(table, figure=figure)
    assert panel.get_xlim() == (0.4, 24.6)
    assert panel.get_xlabel() == "layer"


def test_a_table_without_single_blocks_is_told(figure):
    with pytest.raises(OptionError, match="no drift of single blocks"):
        block_panels(RESULT["layer_heads"], metric="drift", figure=figure)


def test_without_an_intact_network_or_errors_only_dots_are_drawn(figure):
    table = RESULT["layer_drop"]
    bare = table[table["changed"] > 0].assign(se=np.nan)
    panels = block_panels(bare, figure=figure)
    assert not panels[0].patches
    assert len(panels) == len(THREE)
