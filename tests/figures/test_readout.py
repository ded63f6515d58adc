"""Accuracy by layer as artists: panels, lines, bands and chance."""

import numpy as np
import pytest
from readout_table import CHANCE, readout_table

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import model_styles, readout


def lines_of(panel, look):
    return [
        line for line in panel.lines if line.get_color() == look.color and len(line.get_xdata())
    ]


def test_a_panel_for_each_read_out_and_pooling(figure):
    table = readout_table()
    panels = readout(table, figure=figure)
    assert [panel.get_title("left") for panel in panels] == [
        "nearest neighbours, mean patch", "nearest neighbours, class token",
        "linear probe, mean patch", "linear probe, class token",
    ]  # fmt: skip
    look = model_styles(table)["a"]
    rows = table.query("model == 'a' and metric == 'linear_accuracy' and pooling == 'cls'")
    for line in lines_of(panels[3], look):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), rows["value"])
    band = panels[3].collections[0].get_paths()[0].vertices
    heights = band[np.isclose(band[:, 0], 2), 1]
    assert heights.max() - heights.min() == pytest.approx(2 * 1.96 * 0.01)
    (chance,) = (line for line in panels[3].lines if line.get_linestyle() == ":")
    assert set(chance.get_ydata()) == {CHANCE}
    assert len({panel.get_ylim() for panel in panels}) == 1
    assert panels[0].get_ylim()[0] <= CHANCE
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["a", "b", "chance"]


def test_models_of_different_depth_share_an_axis_of_depth(figure):
    depths = (("a", "mim", 4), ("b", "supervised", 8))
    places = (("attentive", "tokens"), ("knn", "mean"))
    table = readout_table(depths, places)
    panels = readout(table, figure=figure)
    assert [panel.get_title("left") for panel in panels] == [
        "attentive probe, all patches", "nearest neighbours, mean patch",
    ]  # fmt: skip
    for name, depth in (("a", 4), ("b", 8)):
        line = lines_of(panels[0], model_styles(table)[name])[0]
        np.testing.assert_allclose(line.get_xdata(), (np.arange(depth) + 1) / depth)
    assert panels[1].get_xlabel().startswith("depth")


def test_chosen_models_and_callers_axes(figure):
    axes = figure.subplots(2, 2)
    panels = readout(readout_table(), models=["b"], axes=axes)
    assert panels == list(axes.flat)
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["b", "chance"]
    with pytest.raises(UnknownNameError, match="unknown model 'c'"):
        readout(readout_table(), models=["c"], figure=figure)
    with pytest.raises(OptionError, match="has 4 panels, but 1 axes"):
        readout(readout_table(), axes=axes[0, 0])
    with pytest.raises(OptionError, match="lacks the columns pooling"):
        readout(readout_table().drop(columns="pooling"), figure=figure)
