"""Curves of every layer, and lines of diagnostics without heads."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from synthetic import MIXED, THREE, Spec, layer_tables

from mimprobe import figures
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import curve_panels, layer_means, model_styles
from mimprobe.figures.curves import COLORMAP
from mimprobe.figures.heads import INTERVAL

TABLES = layer_tables(THREE)


@pytest.mark.parametrize(
    ("draw", "table", "metric"),
    [
        (figures.log_amplitude, "high_frequency", "log_amplitude"),
        (figures.singular_values, "effective_rank", "singular_value"),
    ],
)
def test_every_layer_has_its_curve_and_band(draw, table, metric, figure):
    rows = TABLES[table].query("metric == @metric")
    panels = draw(TABLES[table], figure=figure)
    assert [panel.get_title(loc="left").replace("\n", "") for panel in panels] == [
        spec.name for spec in THREE
    ]
    for panel, spec in zip(panels, THREE, strict=True):
        assert len(panel.lines) == len(panel.collections) == spec.depth
        for layer, (line, band) in enumerate(zip(panel.lines, panel.collections, strict=True)):
            own = rows.query("model == @spec.name and layer == @layer").sort_values("at")
            np.testing.assert_allclose(line.get_xdata(), own["at"])
            np.testing.assert_allclose(line.get_ydata(), own["value"].astype(float))
            assert same_color(line.get_color(), COLORMAP(layer / (spec.depth - 1)))
            top = (own["value"] + INTERVAL * own["se"]).astype(float).max()
            assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(top)
    scale = "log" if metric == "singular_value" else "linear"
    assert {panel.get_xscale() for panel in panels} == {scale}
    assert len({panel.get_ylim() for panel in panels}) == 1
    if scale == "linear":
        highest = max(
            band.get_paths()[0].vertices[:, 1].max() for p in panels for band in p.collections
        )
        assert highest < panels[0].get_ylim()[1]


def test_models_of_different_depth_have_a_bar_each(figure):
    curve_panels(layer_tables(MIXED)["high_frequency"], metric="log_amplitude", figure=figure)
    assert len(figure.axes) == 2 * len(MIXED)
    one = Figure()
    curve_panels(TABLES["high_frequency"], metric="log_amplitude", figure=one)
    assert len(one.axes) == 3 + 1


def test_logarithmic_axes_have_plain_numbers(figure):
    panels = figures.singular_values(TABLES["effective_rank"], figure=figure)
    figure.canvas.draw()
    texts = [label.get_text() for label in panels[0].get_xticklabels()]
    assert {"1", "2", "5", "10"} <= set(texts)
    panel = figures.feature_norm(TABLES["feature_norm"], figure=Figure())[0]
    panel.figure.canvas.draw()
    assert panel.get_yscale() == "log"
    assert all("$" not in label.get_text() for label in panel.get_yticklabels())


def test_tables_without_curves_are_refused(figure):
    with pytest.raises(OptionError, match="lacks the columns at"):
        curve_panels(TABLES["token_similarity"], metric="token_similarity", figure=figure)
    with pytest.raises(UnknownNameError, match="log_amplitude"):
        curve_panels(TABLES["high_frequency"], metric="log_amplitudes", figure=figure)


@pytest.mark.parametrize("name", ["effective_rank", "token_similarity", "high_frequency"])
def test_layers_without_heads_are_lines_over_depth(name, figure):
    (panel,) = getattr(figures, name)(TABLES[name], figure=figure)
    looks = model_styles(TABLES[name])
    lines = [line for line in panel.lines if line.get_zorder() == 3]
    assert len(lines) == len(panel.collections) == 3
    for line, spec in zip(lines, THREE, strict=True):
        own = TABLES[name].query("model == @spec.name and metric == @name").sort_values("layer")
        np.testing.assert_allclose(line.get_xdata(), own["layer"] + 1)
        np.testing.assert_allclose(line.get_ydata(), own["value"].astype(float))
        assert same_color(line.get_color(), looks[spec.name].color)


def test_values_within_a_decade_keep_a_linear_axis(figure):
    table = TABLES["feature_norm"].query("layer < 4")
    (panel,) = layer_means(table, metric="feature_norm", figure=figure)
    assert panel.get_yscale() == "linear"


def test_labels_stand_at_the_ends_of_lines_on_a_logarithmic_axis(figure):
    specs = [Spec("low", depth=4), Spec("high", "supervised", depth=4)]
    table = layer_tables(specs)["feature_norm"].copy()
    table.loc[table["model"] == "high", "value"] *= 100
    (panel,) = layer_means(table, metric="feature_norm", figure=figure)
    names = {text.get_text(): text.xyann[1] for text in panel.texts if text.get_text()}
    ends = table.query("layer == 3 and metric == 'feature_norm'").set_index("model")["value"]
    for name, height in names.items():
        shown = panel.transScale + panel.transLimits
        assert height == pytest.approx(shown.transform((4, float(ends[name])))[1], abs=0.05)


def test_shared_neighbours_have_maps_like_cka(figure):
    table = TABLES["mutual_neighbours"]
    panels = figures.mutual_neighbours(table, figure=figure)
    assert len(panels) == 3
    assert figure.axes[-1].get_ylabel() == "shared nearest neighbours"
    assert len(figures.pair_maps_between(table, metric="mutual_neighbours", figure=Figure())) == 3
    one = layer_tables(THREE[:1])["mutual_neighbours"]
    with pytest.raises(OptionError, match="shared nearest neighbours between models needs two"):
        figures.pair_maps_between(one, metric="mutual_neighbours")
