"""Shapes, quartiles and medians of kernels, as artists."""

import numpy as np
import pandas as pd
import pytest

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.figures import kernel_distance, kernel_entropy, kernel_panels
from mimprobe.figures.kernels import HALF_WIDTH, density
from mimprobe.tables import CHANNEL_COLUMNS


def kernels_table(models=("a", "b"), layers=3, channels=40, metric="kernel_distance", unit="px"):
    draw = np.random.default_rng(0)
    rows = [
        (model, "other", f"stages.{layer // 2}.blocks.{layer % 2}.out", layer, "conv_dw", channel,
         metric, unit, draw.gamma(4) * (layer + 1), np.nan, np.nan, 0, "of the weights")
        for model in models for layer in range(layers) for channel in range(channels)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(CHANNEL_COLUMNS))


def lines_of(panel, *, marked):
    return [line for line in panel.lines if (line.get_marker() == "o") == marked]


def test_medians_and_quartiles_stand_at_their_layers():
    table = kernels_table()
    panels = kernel_distance(table)
    assert [panel.get_title("left") for panel in panels] == ["a", "b"]
    for panel, model in zip(panels, ("a", "b"), strict=True):
        own = table[table["model"] == model].groupby("layer")["value"]
        dots = lines_of(panel, marked=True)
        assert [dot.get_xdata()[0] for dot in dots] == [1, 2, 3]
        np.testing.assert_allclose([dot.get_ydata()[0] for dot in dots], own.median())
        bars = [line for line in lines_of(panel, marked=False) if len(line.get_xdata()) == 2
                and line.get_linestyle() == "-"]  # fmt: skip
        np.testing.assert_allclose(
            [bar.get_ydata() for bar in bars], own.quantile([0.25, 0.75]).unstack()
        )
    assert panels[0].get_ylabel() == "kernel distance (px)"
    assert panels[0].get_ylim() == panels[1].get_ylim()


def test_shapes_reach_from_the_least_to_the_largest_value():
    table = kernels_table(models=("a",))
    (panel,) = kernel_distance(table)
    for layer, shape in enumerate(panel.collections):
        corners = shape.get_paths()[0].vertices
        values = table[table["layer"] == layer]["value"]
        assert corners[:, 1].min() == pytest.approx(values.min())
        assert corners[:, 1].max() == pytest.approx(values.max())
        assert np.abs(corners[:, 0] - layer - 1).max() == pytest.approx(HALF_WIDTH)


def test_the_density_is_a_sum_of_gaussians():
    values = np.array([0.0, 1.0, 5.0])
    heights, found = density(values)
    width = values.std() * 3**-0.2
    expected = [sum(np.exp(-((h - v) ** 2) / (2 * width**2)) for v in values) for h in heights]
    np.testing.assert_allclose(found, np.array(expected) / max(expected))
    heights, found = density(np.full(4, 2.0))
    assert heights.tolist() == [2, 2]
    assert found.tolist() == [1, 1]


def test_a_line_parts_the_stages():
    (panel,) = kernel_distance(kernels_table(models=("a",)))
    parted = [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == ":"]
    assert parted == [2.5]


def test_channels_without_a_value_are_left_out():
    table = kernels_table(models=("a",))
    table.loc[table["layer"] == 1, "value"] = np.nan
    (panel,) = kernel_entropy(table.assign(metric="kernel_entropy", unit="nats"))
    assert [dot.get_xdata()[0] for dot in lines_of(panel, marked=True)] == [1, 3]
    assert panel.get_ylabel() == "kernel entropy (nats)"


def test_what_is_missing_is_said():
    table = kernels_table()
    with pytest.raises(UnknownNameError, match="unknown model 'c'"):
        kernel_distance(table, models=["c"])
    with pytest.raises(UnknownNameError, match="unknown metric of this table 'kernel_entropy'"):
        kernel_panels(table, metric="kernel_entropy")
    with pytest.raises(OptionError, match="lacks the columns channel"):
        kernel_distance(table.drop(columns="channel"))
    with pytest.raises(OptionError, match="2 panels, but 1 axes"):
        kernel_distance(table, axes=kernel_distance(table)[0])
