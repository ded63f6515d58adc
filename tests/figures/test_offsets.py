"""Little maps of what heads look at around the query."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic import MIXED, Spec, make_result

from mimprobe import figures
from mimprobe.errors import OptionError
from mimprobe.figures.offsets import COLORMAP

SPECS = (Spec("a", depth=5, heads=3), Spec("b", "untrained", depth=2, heads=8))
TABLE = make_result(SPECS, images=4)["attention_offset"]


def maps_of(panel):
    """Little maps with their place: (row, column) of the block."""
    found = {}
    for image in panel.get_images():
        left, _, _, top = image.get_extent()
        found[round(top / 1.2), round(left / 1.2)] = image
    return found


def names_of(panel):
    return [text.get_text() for text in panel.texts]


def test_cells_are_factors_of_uniform_attention_at_their_offset(figure):
    table = TABLE.copy()
    table["value"] = np.exp(0.1 * table["row_offset"] + 0.02 * table["column_offset"])
    table["uniform"] = 0.5
    for panel in figures.attention_offset(table, figure=figure):
        for image in maps_of(panel).values():
            values = image.get_array()
            assert values.shape == (7, 7)
            assert values[3, 3] == pytest.approx(2)
            assert values[0, 3] == pytest.approx(2 * np.exp(-0.3))  # up: keys of smaller rows
            assert values[3, 6] == pytest.approx(2 * np.exp(0.06))
            left, right, bottom, top = image.get_extent()
            assert right > left
            assert bottom > top
            assert image.origin == "upper"
        assert panel.get_ylim()[0] > panel.get_ylim()[1]


def test_rows_are_layers_and_columns_heads_from_near_to_far(figure):
    first, second = figures.attention_offset(TABLE, figure=figure)
    assert set(maps_of(first)) == {(row, column) for row in range(3) for column in range(3)}
    assert set(maps_of(second)) == {(row, column) for row in range(2) for column in range(6)}
    assert [name for name in names_of(first) if name.startswith("layer")] == [
        "layer 1", "layer 3", "layer 5",
    ]  # fmt: skip
    # The last head falls off fastest, and eight heads are thinned to six with both ends.
    assert names_of(first)[:3] == ["3", "2", "1"]
    assert names_of(second)[:6] == ["8", "7", "5", "4", "2", "1"]
    assert "maps reach 3 patches to each side" in names_of(first)[-3]


def test_one_scale_is_even_in_factors_and_dark_in_its_middle(figure):
    panels = figures.attention_offset(TABLE, figure=figure)
    norms = {id(image.norm) for panel in panels for image in panel.get_images()}
    assert len(norms) == 1
    norm = panels[0].get_images()[0].norm
    assert norm.vmin * norm.vmax == pytest.approx(1)
    assert norm(1.0) == pytest.approx(0.5)
    grey = COLORMAP(np.linspace(0, 1, 101))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert grey[50] < 0.06
    assert (np.diff(grey[50:]) > 0).all()
    assert grey[0] < 0.6 * grey[-1]
    (bar,) = set(figure.axes) - set(panels)
    labels = [tick.get_text() for tick in bar.get_yticklabels()]
    assert labels[len(labels) // 2] == "1"
    below, above = labels[: len(labels) // 2], labels[len(labels) // 2 + 1 :]
    assert below == [f"1/{label}" for label in reversed(above)]


def test_queries_are_ringed_in_the_middle_of_their_maps(figure):
    (panel, _) = figures.attention_offset(TABLE, figure=figure)
    rings = {tuple(np.round(ring.center, 6)) for ring in panel.patches}
    wanted = {(round(1.2 * c + 0.5, 6), round(1.2 * r + 0.5, 6)) for r, c in maps_of(panel)}
    assert rings == wanted


def test_flat_attention_is_black_all_over(figure):
    table = TABLE.copy()
    table["value"] = table["uniform"]
    (panel, _) = figures.attention_offset(table, figure=figure)
    image = panel.get_images()[0]
    assert (image.norm.vmin, image.norm.vmax) == (0.5, 2)
    np.testing.assert_allclose(image.norm(image.get_array()), 0.5)


def test_what_was_chosen_is_drawn(figure):
    (panel,) = figures.attention_offset(TABLE, models=["b"], layers=[1], heads=2, figure=figure)
    assert set(maps_of(panel)) == {(0, 0), (0, 1)}
    assert names_of(panel)[:2] == ["8", "1"]
    mine = Figure().subplots(1, 2)
    assert figures.attention_offset(TABLE, axes=mine) == list(mine)
    with pytest.raises(OptionError, match="this figure has 2 panels, but 1 axes were passed"):
        figures.attention_offset(TABLE, axes=mine[:1])
    with pytest.raises(OptionError, match="lacks the columns row_offset"):
        figures.attention_offset(make_result(SPECS, images=4)["head_kl"])


def test_offsets_that_no_query_has_are_left_blank(figure):
    table = TABLE[(TABLE["row_offset"] != -3) & (TABLE["layer"] == 0)]
    (panel, _) = figures.attention_offset(table, figure=figure)
    values = panel.get_images()[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(values))[0].all()
    assert not np.ma.getmaskarray(np.ma.masked_invalid(values))[1:].any()


def test_many_models_fit_on_a_page(figure):
    panels = figures.attention_offset(
        make_result(MIXED, images=2)["attention_offset"], figure=figure
    )
    figure.draw_without_rendering()
    assert len(panels) == 7
    assert figure.get_size_inches()[0] <= 9.6
    for panel in panels:
        assert panel.get_tightbbox().x1 <= figure.bbox.width
        assert panel.get_window_extent().height > 100
