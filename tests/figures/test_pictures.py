"""Overlays as artists: where maps, marks and words stand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mimprobe.errors import OptionError
from mimprobe.figures import overlay
from mimprobe.figures.pictures import OPACITY
from mimprobe.tables.heat import HeatMap, Overlay

PICTURE = np.random.default_rng(0).random((24, 40, 3)).astype(np.float32)


def heat(layer=0, head=0, query=(1, 2), size=(3, 5), patch=(1, 2), elsewhere=0.0):
    mass = np.random.default_rng(layer + 10 * (head or 0)).random(size)
    return HeatMap(layer, head, query, mass, (24 // size[0], 40 // size[1]), patch, elsewhere)


def shown(*maps):
    return Overlay("net", "mim", "attention of the query", PICTURE, maps)


def all_axes(panels):
    return panels[0].figure.axes


def test_every_map_lies_over_the_grey_picture_at_its_place():
    maps = (heat(), heat(head=1), heat(layer=3, size=(6, 8), patch=(2, 4)))
    panels = overlay(shown(*maps))
    assert len(panels) == 3
    largest = max(one.mass.max() for one in maps)
    for panel, one in zip(panels, maps, strict=True):
        grey, laid = panel.images
        assert np.asarray(grey.get_array()).shape == (24, 40)
        np.testing.assert_array_equal(laid.get_array(), one.mass)
        assert laid.get_extent() == [-0.5, 39.5, 23.5, -0.5]
        assert laid.get_alpha() == OPACITY
        assert (laid.norm.vmin, laid.norm.vmax) == (0, largest)
        assert laid.get_interpolation() == "nearest"
        assert panel.get_box_aspect() == pytest.approx(24 / 40)


def test_the_query_is_framed_in_the_picture_and_in_every_map():
    panels = overlay(shown(heat(patch=(1, 2)), heat(head=1, query="cls", patch=None)))
    frames = [
        [(p.get_x(), p.get_y(), p.get_width(), p.get_height())
         for p in axes.patches if isinstance(p, Rectangle)]
        for axes in panels
    ]  # fmt: skip
    assert frames == [[(15.5, 7.5, 8, 8)], []]
    pictures = [axes for axes in all_axes(panels) if axes not in panels and len(axes.images) == 1]
    titles = [axes.get_title("left") for axes in pictures]
    assert titles == ["query: patch 1,2", "query: class token"]
    np.testing.assert_array_equal(pictures[0].images[0].get_array(), PICTURE)
    assert len([p for p in pictures[0].patches if isinstance(p, Rectangle)]) == 1


def test_what_a_query_cannot_see_is_masked():
    one = heat()
    one.mass[0] = np.nan
    laid = overlay(shown(one))[0].images[1]
    assert laid.get_array().mask[0].all()
    assert not laid.get_array().mask[1:].any()


def test_names_and_what_goes_elsewhere():
    panels = overlay(shown(heat(layer=2, head=4, elsewhere=0.237), heat(layer=2, head=5)))
    assert [panel.get_title("left") for panel in panels] == ["head 4", "head 5"]
    assert [panel.get_xlabel() for panel in panels] == ["24% elsewhere", ""]
    assert "layer 3" in {axes.get_ylabel() for axes in all_axes(panels)}
    assert panels[0].figure.get_suptitle().startswith("net (masked image modeling): attention of")


def test_a_rollout_has_its_layers_side_by_side():
    maps = [heat(layer, None, query, patch=None) for query in ("mean", "cls") for layer in (0, 5)]
    panels = overlay(shown(*maps))
    assert [panel.get_title("left") for panel in panels] == ["layer 1", "layer 6"] * 2
    places = [panel.get_subplotspec() for panel in panels]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [(0, 1), (0, 2), (1, 1), (1, 2)]


@pytest.mark.parametrize(("heads", "columns"), [(3, 3), (8, 8), (12, 6), (24, 8)])
def test_heads_fill_even_rows(heads, columns):
    panels = overlay(shown(*(heat(head=head) for head in range(heads))))
    starts = [panel.get_subplotspec().colspan.start for panel in panels]
    assert starts == [1 + head % columns for head in range(heads)]


def test_the_callers_axes_and_figure():
    figure, axes = plt.subplots(1, 2)
    assert overlay(shown(heat(), heat(head=1)), axes=axes) == list(axes)
    assert len(figure.axes) == 2
    own = Figure()
    assert overlay(shown(heat()), figure=own)[0].figure is own
    with pytest.raises(OptionError, match="1 panels, but 2 axes"):
        overlay(shown(heat()), axes=axes)
    with pytest.raises(OptionError, match="the overlay has no maps"):
        overlay(shown())
