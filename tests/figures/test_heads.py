"""One dot for each head, a line for their mean, a panel for each model."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe import figures
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import KIND_STYLES, head_panels, model_styles
from mimprobe.figures.heads import INTERVAL, band, band_ends, value_limits

RESULT = make_result(THREE, images=6)
NAMES = [spec.name for spec in THREE]
SMALL = {"depth": 2, "heads": 2}


def rows_of(table, model, metric="attention_distance"):
    rows = table[(table["model"] == model) & (table["metric"] == metric)]
    return rows[rows["head"].notna()], rows[rows["head"].isna()]


def dots_of(panel):
    (dots,) = [drawn for drawn in panel.collections if isinstance(drawn, PathCollection)]
    return dots


def band_of(panel):
    (band,) = [drawn for drawn in panel.collections if not isinstance(drawn, PathCollection)]
    return np.array(band.get_paths()[0].vertices)


def stages_of(panel):
    return [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == ":"]


def line_of(panel):
    (line,) = [line for line in panel.lines if line.get_zorder() == 3]
    return line


def title_of(panel):
    bold = [text for text in panel.findobj(Text) if text.get_weight() == "bold"]
    (title,) = [text for text in bold if text.get_text()]
    return title


def titles_of(panels):
    return [title_of(panel).get_text().replace("\n", "") for panel in panels]


def test_dots_are_at_the_tables_values(figure):
    panels = figures.attention_distance(RESULT["attention_distance"], figure=figure)
    assert len(panels) == len(figure.axes) == 3
    for panel, name in zip(panels, NAMES, strict=True):
        heads, _ = rows_of(RESULT["attention_distance"], name)
        wanted = np.stack([heads["layer"] + 1, heads["value"]], axis=1)
        np.testing.assert_array_equal(dots_of(panel).get_offsets(), wanted)


def test_the_line_is_the_layers_mean_with_its_interval(figure):
    panels = figures.attention_distance(RESULT["attention_distance"], figure=figure)
    for panel, name in zip(panels, NAMES, strict=True):
        heads, means = rows_of(RESULT["attention_distance"], name)
        x, y = line_of(panel).get_data()
        np.testing.assert_array_equal(x, np.arange(1, 13))
        np.testing.assert_allclose(y, heads.groupby("layer")["value"].mean(), rtol=1e-6)
        reach = INTERVAL * means["se"].to_numpy()
        band = band_of(panel)
        for layer, value, half in zip(x, y, reach, strict=True):
            at = band[band[:, 0] == layer, 1]
            assert (at.min(), at.max()) == pytest.approx((value - half, value + half))


def test_models_have_the_colour_of_their_kind_in_dots_line_and_title(figure):
    panels = figures.head_kl(RESULT["head_kl"], figure=figure)
    looks = model_styles(RESULT["head_kl"])
    for panel, spec in zip(panels, THREE, strict=True):
        color = KIND_STYLES[spec.kind].color
        assert same_color(looks[spec.name].color, color)
        assert same_color(line_of(panel).get_color(), color)
        assert same_color(dots_of(panel).get_facecolor()[0][:3], color)
        assert same_color(panel.texts[0].get_color(), color)
        assert panel.texts[1].get_text() == KIND_STYLES[spec.kind].label
    assert titles_of(panels) == NAMES


def test_styles_of_a_comparison_are_kept_for_some_of_its_models(figure):
    two = make_result([Spec("a", **SMALL), Spec("b", **SMALL)], images=4)["head_kl"]
    styles = model_styles(two)
    (panel,) = figures.head_kl(two, models=["b"], styles=styles, figure=figure)
    assert same_color(line_of(panel).get_color(), styles["b"].color)
    assert not same_color(styles["b"].color, styles["a"].color)


def test_panels_share_the_value_axis_and_hold_all_dots(figure):
    panels = figures.attention_entropy(RESULT["attention_entropy"], figure=figure)
    assert len({panel.get_ylim() for panel in panels}) == 1
    assert len({panel.get_xlim() for panel in panels}) == 1
    low, high = panels[0].get_ylim()
    for panel in panels:
        heights = dots_of(panel).get_offsets()[:, 1]
        assert low < heights.min() <= heights.max() < high


def test_outer_labels_have_metric_unit_and_layer(figure):
    panels = figures.attention_distance(RESULT["attention_distance"], figure=figure)
    assert [panel.get_ylabel() for panel in panels] == ["attention distance (px)", "", ""]
    assert [panel.get_xlabel() for panel in panels] == ["layer"] * 3
    (shares, *_) = figures.prefix_mass(RESULT["prefix_mass"], figure=Figure())
    assert shares.get_ylabel() == "share on prefix tokens"


@pytest.mark.parametrize("name", ["attention_distance", "attention_entropy", "head_kl"])
def test_each_function_draws_its_metric(name, figure):
    panel = getattr(figures, name)(RESULT[name], models=[NAMES[0]], figure=figure)[0]
    heads, _ = rows_of(RESULT[name], NAMES[0], name)
    np.testing.assert_array_equal(dots_of(panel).get_offsets()[:, 1], heads["value"])


def test_five_models_of_mixed_families(figure):
    """A panel for each model that has attention; each spans its own layers, stages are parted."""
    five = [MIXED[0], MIXED[2], MIXED[4], MIXED[5], MIXED[7]]
    panels = figures.attention_distance(
        make_result(five, images=4)["attention_distance"], figure=figure
    )
    assert titles_of(panels) == [spec.name for spec in five if spec.family != "resnet"]
    assert [panel.get_xlim() for panel in panels] == [
        (0.4, depth + 0.6) for depth in (12, 12, 24, 12)
    ]
    assert [stages_of(panel) for panel in panels] == [[], [], [], [2.5, 4.5, 10.5]]


def test_one_model_and_the_order_asked_for(figure):
    (panel,) = figures.head_kl(RESULT["head_kl"], models=NAMES[1:2], figure=figure)
    assert titles_of([panel]) == NAMES[1:2]
    turned = figures.head_kl(RESULT["head_kl"], models=NAMES[::-1], figure=Figure())
    assert titles_of(turned) == NAMES[::-1]


def test_long_names_touch_no_neighbour(figure):
    names = [
        "timm:vit_large_patch14_reg4_dinov2.lvd142m", "checkpoint_withoutanyfurtherseparators2024",
        "a" * 60, "results/2025/runs/simmim/epoch-0800.pth",
    ]  # fmt: skip
    table = make_result([Spec(name, **SMALL) for name in names], images=4)["head_kl"]
    panels = figures.head_kl(table, figure=figure)
    figure.draw_without_rendering()
    boxes = [title_of(panel).get_window_extent() for panel in panels]
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0
    assert boxes[-1].x1 <= figure.bbox.width
    assert max(box.y1 for box in boxes) <= figure.bbox.height


def test_names_are_no_formulas(figure):
    table = make_result([Spec("$x_1$ \\frac 100%", **SMALL)], images=4)["head_kl"]
    (panel,) = figures.head_kl(table, figure=figure)
    figure.draw_without_rendering()
    assert title_of(panel).get_text() == "$x_1$ \\frac 100%"
    assert not title_of(panel).get_parse_math()


def test_missing_values_leave_gaps(figure):
    table = RESULT["head_kl"].copy()
    table.loc[table["layer"] == 3, ["value", "std", "se"]] = np.nan
    panels = figures.head_kl(table, figure=figure)
    figure.draw_without_rendering()
    gaps = [np.isnan(line_of(panel).get_ydata()).nonzero()[0].tolist() for panel in panels]
    assert gaps == [[3]] * 3
    assert np.isfinite(panels[0].get_ylim()).all()
    table[["value", "std", "se"]] = np.nan
    panels = figures.head_kl(table, figure=Figure())
    assert panels[0].get_ylim() == (0, 1)


def test_one_image_has_a_line_without_a_band(figure):
    (panel,) = figures.head_kl(make_result([Spec("a")], images=1)["head_kl"], figure=figure)
    figure.draw_without_rendering()
    assert len(line_of(panel).get_ydata()) == 12
    assert np.isfinite(line_of(panel).get_ydata()).all()


def test_axes_of_the_caller_are_used(figure):
    mine = figure.subplots(1, 3)
    assert figures.head_kl(RESULT["head_kl"], axes=mine) == list(mine)
    with pytest.raises(OptionError, match="this figure has 1 panels, but 3 axes were passed"):
        figures.head_kl(RESULT["head_kl"], models=NAMES[:1], axes=mine)


def test_tables_that_do_not_fit_are_said():
    with pytest.raises(UnknownNameError, match="unknown metric of this table 'head_kl'"):
        figures.head_kl(RESULT["prefix_mass"])
    with pytest.raises(OptionError, match="lacks the columns head"):
        head_panels(RESULT["cka"], metric="cka")
    blind = make_result([Spec("r", family="resnet", **SMALL)], images=4)
    with pytest.raises(OptionError, match="the table is empty: no model in it has a head_kl"):
        figures.head_kl(blind["head_kl"])


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.0, 100.0], -3, 106), ([50.0, 100.0], -1.5, 103), ([90.0, 100.0], 89.4, 100.6),
        ([-1.0, 1.0], -1.12, 1.12), ([0.0, 0.0], -0.06, 0.06), ([5.0, 5.0], 4.7, 5.3),
    ],
)  # fmt: skip
def test_limits_begin_at_zero_unless_all_values_lie_far_from_it(values, low, high):
    assert value_limits(pd.Series(values)) == pytest.approx((low, high))


def test_bands_end_where_a_metric_does():
    rows = pd.DataFrame(
        [("drift", 0.99, 0.02), ("knn_accuracy", 0.99, 0.02), ("cka", 0.5, 0.1),
         ("attention_distance", 0.99, 0.02), ("drift", 1.0, np.nan), ("knn_accuracy", 0.01, 0.02)],
        columns=["metric", "value", "se"],
    )  # fmt: skip
    low, high = band(rows)
    np.testing.assert_allclose(low[:4], rows["value"][:4] - 1.96 * rows["se"][:4])
    np.testing.assert_allclose([low[5], high[5]], [0, 0.0492])
    np.testing.assert_allclose(high[:4], [1, 1, 0.696, 1.0292])
    assert np.isnan([low[4], high[4]]).all()
    assert band_ends(rows).max() == pytest.approx(1.0292)
    assert band_ends(rows).iloc[[4, 10]].tolist() == [1, 1]  # a value without an error
