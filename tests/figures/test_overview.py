"""Layer means of all models in one panel, with labels that do not touch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from synthetic import MIXED, THREE, Spec, make_result

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import layer_means, model_styles
from mimprobe.figures.overview import LABEL_GAP, spread

RESULT = make_result(THREE, images=6)
TABLE = RESULT["attention_distance"]
NAMES = [spec.name for spec in THREE]


def draw(table, figure, **options):
    (panel,) = layer_means(table, figure=figure, **options)
    return panel


def curves_of(panel):
    """The lines, in the order in which the models were drawn; dots and labels have none."""
    return [line for line in panel.lines if line.get_linestyle() != "None"]


def labels_of(panel):
    return {text.get_text(): text for text in panel.texts if text.get_text()}


def test_each_line_is_a_models_layer_means(figure):
    panel = draw(TABLE, figure)
    for line, name in zip(curves_of(panel), NAMES, strict=True):
        rows = TABLE[(TABLE["model"] == name) & (TABLE["metric"] == "attention_distance")]
        means = rows[rows["head"].isna()]
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
        np.testing.assert_array_equal(line.get_ydata(), means["value"])
    assert panel.get_xlabel() == "layer"
    assert panel.get_ylabel() == "attention distance (px)"
    assert len(panel.collections) == 3  # the bands


def test_lines_and_labels_have_the_models_colour_and_marker(figure):
    panel = draw(TABLE, figure)
    looks = model_styles(TABLE)
    for line, name in zip(curves_of(panel), NAMES, strict=True):
        assert same_color(line.get_color(), looks[name].color)
    markers = [line for line in panel.lines if line.get_transform() == panel.transAxes]
    assert [(line.get_color(), line.get_marker()) for line in markers] == [
        (looks[name].color, looks[name].marker) for name in NAMES
    ]
    assert list(labels_of(panel)) == NAMES


def test_labels_stand_at_the_end_of_their_lines(figure):
    panel = draw(TABLE, figure)
    for line, name in zip(curves_of(panel), NAMES, strict=True):
        x, y = labels_of(panel)[name].xy
        assert x > 1
        end = panel.transLimits.transform((12, line.get_ydata()[-1]))
        assert y == pytest.approx(end[1], abs=LABEL_GAP)


def test_labels_of_equal_lines_do_not_touch_and_stay_in_the_figure(figure):
    names = [f"model-{number}" for number in range(5)] + ["x" * 80]
    table = make_result([Spec(name) for name in names], images=4)["head_kl"]
    panel = draw(table, figure)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in labels_of(panel).values()]
    boxes.sort(key=lambda box: box.y0)
    for below, above in pairwise(boxes):
        assert below.y1 <= above.y0 + 1
    assert max(box.x1 for box in boxes) <= figure.bbox.width
    assert max(box.y1 for box in boxes) <= figure.bbox.height


def test_models_of_different_depth_share_the_depth_axis(figure):
    deep = [spec for spec in MIXED if spec.family != "resnet"]
    panel = draw(make_result(deep, images=4)["attention_distance"], figure)
    assert panel.get_xlabel() == "depth (layer / number of layers)"
    for line, spec in zip(curves_of(panel), deep, strict=True):
        places = np.arange(1, spec.depth + 1) / spec.depth
        np.testing.assert_allclose(line.get_xdata(), places)


def test_the_value_axis_holds_all_lines(figure):
    panel = draw(TABLE, figure)
    low, high = panel.get_ylim()
    assert all(low < line.get_ydata().min() <= line.get_ydata().max() < high
               for line in curves_of(panel))  # fmt: skip


def test_metric_and_models_asked_for(figure):
    table = RESULT["attention_entropy"]
    panel = draw(table, figure, metric="attention_entropy_normalised", models=[NAMES[2], NAMES[0]])
    assert list(labels_of(panel)) == [NAMES[2], NAMES[0]]
    assert panel.get_ylabel() == "normalised entropy"
    assert draw(table, Figure()).get_ylabel() == "attention entropy (nats)"


def test_one_model(figure):
    panel = draw(make_result([Spec("only", depth=1, heads=1)], images=1)["head_kl"], figure)
    figure.draw_without_rendering()
    assert list(labels_of(panel)) == ["only"]


def test_lines_without_an_end_have_no_label(figure):
    """As for models with one head, whose heads differ from no other."""
    table = TABLE.copy()
    last = (table["model"] == NAMES[0]) & (table["layer"] == 11)
    table.loc[last, ["value", "std", "se"]] = np.nan
    assert list(labels_of(draw(table, figure))) == NAMES[1:]
    table[["value", "std", "se"]] = np.nan
    panel = draw(table, Figure())
    assert labels_of(panel) == {}
    assert panel.get_ylim() == (0, 1)


def test_axes_of_the_caller_are_used(figure):
    mine = figure.add_subplot()
    assert layer_means(TABLE, axes=mine) == [mine]
    with pytest.raises(OptionError, match="this figure has 1 panels, but 2 axes were passed"):
        layer_means(TABLE, axes=[mine, mine])


def test_tables_that_do_not_fit_are_said():
    with pytest.raises(OptionError, match="lacks the columns head"):
        layer_means(RESULT["cka"])
    with pytest.raises(OptionError, match="the table is empty"):
        layer_means(TABLE.head(0))
    with pytest.raises(OptionError, match="lacks the columns head, kind, layer, metric"):
        layer_means(TABLE[["value"]])
    with pytest.raises(UnknownNameError, match="unknown metric"):
        layer_means(TABLE, metric="attention_distanc")


PLACES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(PLACES)
def test_moved_labels_keep_their_order_and_their_mean_and_do_not_touch(places):
    moved = spread(places, 0.1)
    order = np.argsort(places, kind="stable")
    assert (np.diff(np.array(moved)[order]) >= 0.1 - 1e-9).all()
    assert np.mean(moved) == pytest.approx(np.mean(places))


@given(PLACES, st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_labels_move_as_little_as_possible(places, others):
    """No other places with these gaps are nearer, in the sum of squares."""
    order = np.argsort(places, kind="stable")
    other = np.empty(len(places))
    other[order] = np.sort(others[: len(places)]) + 0.1 * np.arange(len(places))
    cost = np.square(np.array(spread(places, 0.1)) - places).sum()
    assert cost <= np.square(other - places).sum() + 1e-9


def test_labels_that_stand_apart_stay():
    assert spread([0.5, 0.1, 0.9], 0.1) == pytest.approx([0.5, 0.1, 0.9])
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([], 0.1) == []
