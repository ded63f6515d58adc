"""Maps and squares of the receptive field, as artists."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import receptive_field
from mimprobe.figures.receptive import LOWEST
from mimprobe.tables import PIXEL_COLUMNS

SIDES = {0.2: 3.0, 0.5: 7.0, 0.99: 15.0}


def field_table(models=("a", "b"), shape=(12, 16)):
    frames = []
    for model in models:
        rows, columns = np.indices(shape, dtype=float)
        values = np.exp(-((rows - 5.5) ** 2 + (columns - 7.5) ** 2) / 4)
        frames.append(
            pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "share": np.nan,
                          "metric": "contribution", "unit": "1",
                          "value": values.ravel() / values.sum()}).assign(model=model)
        )  # fmt: skip
        frames.append(
            pd.DataFrame({"row": 5.5, "column": 7.5, "share": list(SIDES), "unit": "px",
                          "metric": "square_side", "value": list(SIDES.values())})
            .assign(model=model)
        )  # fmt: skip
    table = pd.concat(frames, ignore_index=True)
    table = table.assign(kind="mim", site="blocks.1.out", layer=1, std=np.nan, se=0.5, n=4, note="")
    return table[list(PIXEL_COLUMNS)]


def test_maps_are_shares_of_the_largest_on_one_scale():
    panels = receptive_field(field_table())
    assert [panel.get_title("left") for panel in panels] == ["a", "b"]
    for panel in panels:
        (image,) = panel.images
        values = np.asarray(image.get_array())
        assert values.shape == (12, 16)
        assert values.max() == 1
        assert values.min() == LOWEST
        np.testing.assert_allclose(values[5, 10], np.exp((0.5**2 - 2.5**2) / 4), rtol=1e-12)
        assert (image.norm.vmin, image.norm.vmax) == (LOWEST, 1)
        assert image.origin == "upper"


def test_squares_lie_round_their_middle_and_are_told_below():
    panel = receptive_field(field_table(models=("a",)))[0]
    squares = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    found = {(s.get_x(), s.get_y(), s.get_width(), s.get_height()) for s in squares}
    assert found == {(7.5 - side / 2, 5.5 - side / 2, side, side) for side in SIDES.values()}
    label = panel.get_xlabel()
    assert label.startswith("input of 12 \N{MULTIPLICATION SIGN} 16 px\n")
    for told in ("20% in 3 px", "50% in 7 px", "99% in 15 px"):
        assert told in label


def test_panels_have_the_shape_of_the_input():
    panel = receptive_field(field_table(models=("a",)))[0]
    assert panel.get_box_aspect() == pytest.approx(12 / 16)
    assert panel.get_xlim() == (-0.5, 15.5)
    assert panel.get_ylim() == (11.5, -0.5)


def test_a_model_without_gradients_gives_a_dark_map():
    table = field_table(models=("a",))
    table["value"] = np.where(table["metric"] == "contribution", 0, np.nan)
    panel = receptive_field(table)[0]
    assert np.asarray(panel.images[0].get_array()).max() == LOWEST
    assert len(panel.patches) == 0


def test_what_is_missing_is_said():
    table = field_table()
    with pytest.raises(UnknownNameError, match="unknown model 'c'"):
        receptive_field(table, models=["c"])
    with pytest.raises(OptionError, match="the table is empty"):
        receptive_field(table.head(0))
    with pytest.raises(OptionError, match="lacks the columns share"):
        receptive_field(table.drop(columns="share"))
    axes = receptive_field(table)
    assert receptive_field(table, models=["b"], axes=axes[0]) == [axes[0]]
