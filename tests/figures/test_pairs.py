"""Heat maps of pairs of heads, and curves of attention by distance."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from synthetic import EVEN, MIXED, Spec, make_result

from mimprobe import figures
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import model_styles
from mimprobe.figures.heads import INTERVAL

SPECS = (Spec("a", depth=5, heads=3), Spec("b", "supervised", depth=2, heads=4))
RESULT = make_result(SPECS, images=9)
PAIRS, PROFILE = RESULT["head_pairs"], RESULT["attention_profile"]
DRAWN = {
    "head_pairs": (figures.head_pairs, PAIRS),
    "attention_profile": (figures.attention_profile, PROFILE),
}
PLACES = [("a", 0), ("a", 2), ("a", 4), ("b", 0), ("b", 1)]


def map_of(panel):
    (image,) = panel.get_images()
    return image


def value(table, model, layer, metric, head, other):
    rows = table[(table["model"] == model) & (table["layer"] == layer)]
    rows = rows[(rows["metric"] == metric) & (rows["head"] == head)]
    return rows.loc[rows["other_head"] == other, "value"].item()


@pytest.mark.parametrize("metric", ["head_kl", "head_distance", "mean_map_distance"])
def test_cells_are_at_the_tables_values(figure, metric):
    table = PAIRS.copy()  # not symmetric, as divergences are
    table["value"] += 0.001 * table["head"].fillna(0).astype(float)
    panels = figures.head_pairs(table, metric=metric, figure=figure)
    assert len(panels) == len(PLACES)
    for panel, (model, layer) in zip(panels, PLACES, strict=True):
        values = map_of(panel).get_array()
        assert np.isnan(np.diag(values.filled(np.nan))).all()
        for head, other in ((0, 1), (2, 0), (1, 2)):
            wanted = value(table, model, layer, metric, head, other)
            assert values[head, other] == pytest.approx(wanted, rel=1e-12)
        assert panel.get_xlabel() == f"other head, layer {layer + 1}"
        assert map_of(panel).origin == "lower"


def test_all_maps_have_one_scale_from_nothing_to_the_largest(figure):
    panels = figures.head_pairs(PAIRS, figure=figure)
    scales = [map_of(panel).norm for panel in panels]
    assert all(scale is scales[0] for scale in scales)
    largest = PAIRS.query("metric == 'head_kl' and layer in (0, 1, 2, 4)")["value"].max()
    assert (scales[0].vmin, scales[0].vmax) == (0, pytest.approx(largest))
    (bar,) = set(figure.axes) - set(panels)
    assert bar.get_ylabel() == "KL between heads (nats)"


def test_curves_are_at_the_middle_of_their_rings(figure):
    panels = figures.attention_profile(PROFILE, figure=figure)
    looks = model_styles(PROFILE)
    for panel, (model, layer) in zip(panels, PLACES, strict=True):
        own = PROFILE[(PROFILE["model"] == model) & (PROFILE["layer"] == layer)]
        even, *heads, mean = panel.lines
        assert len(heads) == own["head"].nunique()
        for line in panel.lines:
            np.testing.assert_array_equal(line.get_xdata(), [0, 16, 32, 48])
        np.testing.assert_allclose(even.get_ydata(), EVEN)
        for head, line in enumerate(heads):
            np.testing.assert_allclose(line.get_ydata(), own.loc[own["head"] == head, "value"])
        means = own[own["head"].isna()]
        np.testing.assert_allclose(mean.get_ydata(), means["value"])
        assert same_color(mean.get_color(), looks[model].color)
        (band,) = [area for area in panel.collections if area.get_zorder() == 1]
        heights = band.get_paths()[0].vertices
        at = heights[heights[:, 0] == 16, 1]
        reach = INTERVAL * means["se"].iloc[1]
        middle = means["value"].iloc[1]
        assert (at.min(), at.max()) == pytest.approx((middle - reach, middle + reach))
    assert len({panel.get_ylim() for panel in panels}) == 1
    assert [panel.get_ylabel() for panel in panels] == [
        "share of attention", "", "", "share of attention", "",
    ]  # fmt: skip
    assert [panel.texts[0].get_text() for panel in panels] == [
        f"layer {layer + 1}" for _, layer in PLACES
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_layers_and_models_can_be_chosen(name, figure):
    draw, table = DRAWN[name]
    assert len(draw(table, layers=[1, 3, 4, 0], models=["a"], figure=figure)) == 4
    with pytest.raises(OptionError, match="'b' has no layer 4 in this table.*it has 0 to 1"):
        draw(table, layers=[4], figure=Figure())
    with pytest.raises(OptionError, match="layers is empty"):
        draw(table, layers=[], figure=Figure())
    with pytest.raises(UnknownNameError, match="unknown model 'c'"):
        draw(table, models=["c"], figure=Figure())
    mine = Figure().subplots(1, 5)
    assert draw(table, axes=mine) == list(mine)
    with pytest.raises(OptionError, match="this figure has 5 panels, but 3 axes were passed"):
        draw(table, axes=mine[:3])
    with pytest.raises(OptionError, match="lacks the columns"):
        draw(RESULT["head_kl"], figure=Figure())


@pytest.mark.parametrize("name", DRAWN)
def test_names_fit_above_their_panels(name, figure):
    draw, _ = DRAWN[name]
    panels = draw(make_result(MIXED[:2], images=4)[name], figure=figure)
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] <= 9.6
    for panel in panels:
        assert panel.get_window_extent().width > 80
        assert panel.get_tightbbox().x1 <= figure.bbox.width


@pytest.mark.parametrize("name", DRAWN)
def test_one_head_or_one_image_is_drawn_too(name, figure):
    draw, _ = DRAWN[name]
    table = make_result([Spec("a", depth=1, heads=1)], images=1)[name]
    (panel,) = draw(table, figure=figure)
    figure.draw_without_rendering()
    assert np.isfinite(panel.get_ylim()).all()
