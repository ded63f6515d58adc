"""AvgDist as artists: curves, intervals and the band."""

import numpy as np
import pytest

from mimprobe.errors import OptionError
from mimprobe.experiments.mask_distances import mask_distances
from mimprobe.figures import mask_distance


@pytest.fixture(scope="module")
def table():
    return mask_distances(patches=[16, 64], ratios=[0.3, 0.6, 0.9], draws=4)


def test_a_curve_for_each_mask_patch_and_the_band(table, figure):
    (panel,) = mask_distance(table, figure=figure)
    curves = [container.lines[0] for container in panel.containers]
    np.testing.assert_array_equal(curves[0].get_ydata(), table["value"][:3])
    np.testing.assert_array_equal(curves[1].get_xdata(), [0.3, 0.6])  # .9 is undefined
    (bars,) = panel.containers[0].lines[2]
    low, high = bars.get_segments()[1][:, 1]
    assert high - low == pytest.approx(2 * 1.96 * table["se"][1])
    (band,) = panel.patches
    assert (band.get_y(), band.get_height()) == (10, 10)
    assert panel.get_yscale() == "log"
    texts = [text.get_text() for text in panel.get_legend().get_texts()]
    assert texts == ["64 px", "16 px", "best in the paper"]


def test_tables_that_cannot_be_drawn_are_refused(table, figure):
    with pytest.raises(OptionError, match="one strategy and input size, not 0"):
        mask_distance(table[table["n"] == 0], figure=figure)
