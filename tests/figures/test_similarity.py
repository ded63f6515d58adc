"""Heat maps: each cell at its layers, one colour scale for all, pairs on a staircase."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import same_color, to_rgba
from matplotlib.figure import Figure
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import cka, cka_between, model_styles
from mimprobe.figures.similarity import COLORMAP

SPECS = (Spec("a", depth=2, heads=2), Spec("b", "supervised", depth=3, heads=2),
         Spec("c", "untrained", depth=4, heads=2))  # fmt: skip


def numbered(specs=SPECS):
    """A table whose values say where they belong; not symmetric on purpose."""
    table = make_result(specs)["cka"].copy()
    place = {spec.name: number / 10 for number, spec in enumerate(specs)}
    table["value"] = (
        table["model"].map(place) + table["other_model"].map(place) / 10
        + table["layer"] / 1000 + table["other_layer"] / 10000
    )  # fmt: skip
    return table


def cells_of(panel):
    (image,) = panel.images
    return image.get_array()


def bars_of(figure, panels):
    return [
        axes
        for axes in {*figure.axes, *(child for one in figure.axes for child in one.child_axes)}
        if axes not in panels and hasattr(axes, "_colorbar")
    ]


def test_cells_are_at_their_layers(figure):
    panels = cka(numbered(), figure=figure)
    for number, (panel, spec) in enumerate(zip(panels, SPECS, strict=True)):
        layers = np.arange(spec.depth)
        wanted = 0.11 * number + layers[:, None] / 1000 + layers / 10000
        np.testing.assert_allclose(cells_of(panel), wanted)
        assert panel.images[0].origin == "lower"
        assert [label.get_text() for label in panel.get_xticklabels()] == [
            str(layer + 1) for layer in panel.get_xticks().astype(int)
        ]
        assert panel.get_title(loc="left") == spec.name


def test_models_without_attention_and_of_any_depth_are_shown(figure):
    panels = cka(make_result(MIXED, images=20)["cka"], figure=figure)
    assert [cells_of(panel).shape for panel in panels] == [
        (spec.depth, spec.depth) for spec in MIXED
    ]


def test_pairs_stand_on_a_staircase_with_one_model_up_and_the_other_across(figure):
    panels = cka_between(numbered(), figure=figure)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for panel, (across, up) in zip(panels, pairs, strict=True):
        rows, columns = np.arange(SPECS[up].depth), np.arange(SPECS[across].depth)
        wanted = up / 10 + across / 100 + rows[:, None] / 1000 + columns / 10000
        np.testing.assert_allclose(cells_of(panel), wanted)
        place = panel.get_subplotspec()
        assert (place.rowspan.start, place.colspan.start) == (up - 1, across)


def test_pairs_are_labelled_at_the_outside_and_coloured_at_every_axis(figure):
    table = make_result(SPECS)["cka"]
    panels, looks = cka_between(table, figure=figure), model_styles(table)
    assert [panel.get_ylabel() for panel in panels] == ["layer of b", "layer of c", ""]
    assert [panel.get_xlabel() for panel in panels] == ["", "layer of a", "layer of b"]
    for panel, (across, up) in zip(panels, ["ab", "ac", "bc"], strict=True):
        assert same_color(panel.spines["bottom"].get_edgecolor(), looks[across].color)
        assert same_color(panel.spines["left"].get_edgecolor(), looks[up].color)
        assert not panel.spines["top"].get_visible()


@pytest.mark.parametrize("draw", [cka, cka_between])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_one_colour_scale_and_one_bar(draw, count, figure):
    panels = draw(make_result([*THREE, *MIXED][:count])["cka"], figure=figure)
    figure.draw_without_rendering()
    assert len(panels) == (count if draw is cka else count * (count - 1) // 2)
    images = [panel.images[0] for panel in panels]
    assert {image.get_clim() for image in images} == {(0, 1)}
    assert {image.get_cmap().name for image in images} == {"viridis"}
    (bar,) = bars_of(figure, panels)
    assert bar._colorbar.mappable.get_clim() == (0, 1)
    assert bar._colorbar.cmap == images[0].get_cmap()
    assert "CKA" in (bar.get_ylabel(), bar.get_xlabel())


@pytest.mark.parametrize(
    ("low", "high", "arrows"),
    [(0.0, 1.0, "neither"), (-0.1, 1.0, "min"), (0.0, 1.1, "max"), (-0.1, 1.1, "both")],
)
@pytest.mark.parametrize("draw", [cka, cka_between])
def test_values_beyond_the_scale_give_the_bar_arrows(draw, low, high, arrows, figure):
    table = make_result(SPECS)["cka"].copy()
    table["value"] = np.linspace(0, 1, len(table))
    for one, other in (("a", "a"), ("b", "a")):
        pair = table[(table["model"] == one) & (table["other_model"] == other)].index
        table.loc[pair[[0, -1]], "value"] = [low, high]
    panels = draw(table, figure=figure)
    (bar,) = bars_of(figure, panels)
    assert bar._colorbar.extend == arrows


def test_cells_without_a_value_are_grey(figure):
    table = make_result(SPECS)["cka"].copy()
    table.loc[(table["layer"] == 1) | (table["other_layer"] == 1), "value"] = np.nan
    for panel in cka(table, figure=figure):
        assert np.isnan(cells_of(panel).filled(np.nan)[1]).all()
        assert np.isfinite(cells_of(panel).filled(np.nan)[0, 0])
    figure.draw_without_rendering()
    assert same_color(COLORMAP(np.nan), to_rgba("#E4E4E4"))
    table["value"] = np.nan
    panels = cka_between(table, figure=Figure())
    assert cells_of(panels[0]).shape == (3, 2)


def test_the_colour_map_rises_in_lightness():
    grey = COLORMAP(np.linspace(0, 1, 11))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) > 0.01).all()


def test_some_models_in_the_order_asked_for(figure):
    (panel,) = cka_between(numbered(), models=["c", "a"], figure=figure)
    assert cells_of(panel).shape == (2, 4)  # a upwards, c across
    assert panel.get_ylabel() == "layer of a"
    panels = cka(numbered(), models=["c", "a"], figure=Figure())
    assert [panel.get_title(loc="left") for panel in panels] == ["c", "a"]


def test_long_names_touch_no_neighbour(figure):
    names = [f"timm:vit_large_patch14_reg4_dinov2.lvd142m-{number}" for number in range(5)]
    names[3] = "x" * 90
    table = make_result([Spec(name, depth=2, heads=2) for name in names])["cka"]
    panels = cka_between(table, figure=figure)
    figure.draw_without_rendering()
    boxes = [panel.xaxis.label.get_window_extent() for panel in panels[-4:]]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    sides = [panel.yaxis.label.get_window_extent() for panel in panels if panel.get_ylabel()]
    assert len(sides) == 4
    assert all(above.y0 > below.y1 for above, below in pairwise(sides))


def test_axes_of_the_caller_are_used(figure):
    mine = figure.subplots(1, 3)
    assert cka(numbered(), axes=mine) == list(mine)
    assert cka_between(numbered(), axes=Figure().subplots(1, 3))[0].get_ylabel() == "layer of b"
    with pytest.raises(OptionError, match="this figure has 2 panels, but 3 axes were passed"):
        cka(numbered(), models=["a", "b"], axes=mine)


def test_tables_that_do_not_fit_are_said():
    result = make_result(SPECS)
    with pytest.raises(OptionError, match="CKA between models needs two models"):
        cka_between(result["cka"], models=["a"])
    with pytest.raises(OptionError, match="lacks the columns other_model"):
        cka(result["head_kl"])
    with pytest.raises(UnknownNameError, match="unknown model 'd'"):
        cka(result["cka"], models=["d"])
    lone = result["cka"].query("model == other_model")
    with pytest.raises(OptionError, match="the table has no CKA between 'b' and 'a'"):
        cka_between(lone)
