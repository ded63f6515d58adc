"""What all figures share, and that drawing changes nothing outside itself."""

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures import Style
from mimprobe.figures.panels import (
    PAGE_INCHES,
    ROW_PANELS,
    drawing,
    given_axes,
    is_outer,
    layer_ticks,
    panel_grid,
    short_name,
    title_panel,
)

WORDS = st.lists(st.text("abz", max_size=30), max_size=6)
NAMES = st.builds(lambda between, words: between.join(words), st.sampled_from("._:/- \n"), WORDS)


def grid(count, figure, *, square=False, axes=None):
    return panel_grid(count, square=square, axes=axes, figure=figure)


@pytest.mark.parametrize("broken", [False, True])
def test_drawing_puts_its_settings_back(broken):
    before = dict(mpl.rcParams)
    with mpl.rc_context({"axes.grid": False, "font.size": 20}):
        try:
            with drawing():
                assert mpl.rcParams["axes.grid"]
                mpl.rcParams["interactive"] = not before["interactive"]
                if broken:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert broken
        assert mpl.rcParams["font.size"] == 20
        assert not mpl.rcParams["axes.grid"]
        assert mpl.rcParams["interactive"] != before["interactive"], "a notebook's mode was undone"
    assert dict(mpl.rcParams) == before


def test_a_pyplot_figure_is_made_only_if_nothing_is_given(figure):
    grid(2, figure)
    grid(1, None, axes=figure.add_subplot())
    assert plt.get_fignums() == []
    assert grid(2, None)[0].figure is plt.gcf()


@pytest.mark.parametrize(
    ("count", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 2, 3), (7, 2, 4), (9, 3, 3)],
)
@pytest.mark.parametrize("square", [False, True])
def test_panels_stand_in_rows_of_equal_length(count, rows, columns, square, figure):
    panels = grid(count, figure, square=square)
    assert len(panels) == len(figure.axes) == count
    place = panels[0].get_subplotspec().get_gridspec()
    assert (place.nrows, place.ncols) == (rows, columns)
    assert columns <= ROW_PANELS
    assert figure.get_size_inches()[0] <= PAGE_INCHES


def test_axes_of_the_caller_are_counted(figure):
    axes = figure.subplots(1, 3)
    assert given_axes(axes, 3) == list(axes)
    assert given_axes(list(axes), 3) == list(axes)
    assert given_axes(axes[0], 1) == [axes[0]]
    with pytest.raises(OptionError, match="this figure has 2 panels, but 3 axes were passed"):
        given_axes(axes, 2)


def test_outer_panels_are_those_with_nothing_below_and_nothing_at_the_left(figure):
    panels = grid(5, figure)  # three above, two below
    assert [is_outer(panel) for panel in panels] == [
        (True, False), (False, False), (False, True),
        (True, True), (False, True),
    ]  # fmt: skip
    assert is_outer(Figure().add_axes((0, 0, 1, 1))) == (True, True)


@pytest.mark.parametrize(
    ("depth", "ticks"),
    [
        (1, [1]), (4, [1, 2, 3, 4]), (8, [2, 4, 6, 8]), (12, [1, 3, 6, 9, 12]),
        (16, [1, 3, 6, 9, 12, 15]), (17, [1, 3, 6, 9, 12, 15, 17]), (20, [1, 4, 8, 12, 16, 20]),
        (24, [1, 6, 12, 18, 24]), (40, [1, 8, 16, 24, 32, 40]), (70, [1, 12, 24, 36, 48, 60, 70]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_include_the_ends(depth, ticks):
    assert layer_ticks(depth, 5) == ticks


@given(st.integers(1, 200), st.integers(4, 12))
def test_ticks_are_layers_that_do_not_crowd(depth, most):
    ticks = layer_ticks(depth, most)
    assert ticks == sorted(set(ticks))
    assert 1 <= ticks[0] <= 2
    assert depth - max(12, depth // most) <= ticks[-1] <= depth
    if depth < 24 * most:
        assert len(ticks) <= most + 2


@given(NAMES, st.integers(6, 30), st.integers(1, 2))
def test_names_keep_to_their_width_and_lines(name, width, lines):
    rows = short_name(name, width, lines).split("\n")
    assert len(rows) <= lines
    assert max(map(len, rows)) <= width
    plain = " ".join(name.split())
    if len(plain) <= width * lines:
        assert "".join(rows).replace(" ", "") == plain.replace(" ", "")
    else:
        assert sum(row.count("…") for row in rows) == 1
        assert rows[0][0] == plain[0]
        assert rows[-1][-1] == plain[-1]


def test_names_break_after_separators():
    name = "timm:vit_base_patch16_224.augreg_in21k_ft_in1k"
    assert short_name(name, 24) == "timm:vit_base_patch16_\n224.augreg_in21k_ft_in1k"
    assert short_name("random:simmim", 30) == "random:simmim"
    assert short_name("checkpoint-" + "x" * 20, 16) == "checkpoint-xxxxx\n" + "x" * 15


def test_a_title_names_the_model_its_colour_and_kind(figure):
    (panel,) = grid(1, figure)
    title_panel(panel, "$a_b$", "mim", Style("#123456", "s", "-"))
    square, kind = panel.texts
    assert panel.get_title() == "$a_b$"
    assert (square.get_text(), square.get_color()) == ("■", "#123456")
    assert kind.get_text() == "masked image modeling"


def test_a_title_is_as_wide_as_its_panel(figure):
    figure.set_size_inches(9.6, 3)
    panels = figure.subplots(1, 4)
    title_panel(panels[0], "x" * 100, "mim", Style("k", "s", "-"))
    title_panel(wide := Figure((9.6, 3)).add_subplot(), "x" * 100, "mim", Style("k", "s", "-"))
    lengths = [max(map(len, axes.title.get_text().split("\n"))) for axes in (panels[0], wide)]
    assert lengths == [23, 95]
