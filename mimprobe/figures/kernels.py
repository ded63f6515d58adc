"""Depth-wise kernels against the layer: the spread over a layer's channels, a panel for each model.

What belongs here: figures of metrics with one value for each channel. What does not: what a metric
means (`measures.kernels`), and heads (`heads`), beside whose panels these can stand: same axes,
same unit.

A layer has hundreds of channels, so it is drawn as the shape of their distribution, with a bar from
the lower to the upper quartile and a dot at the median. No interval: no image enters.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures.heads import label_outer, set_layer_axis, value_limits
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import RULE, AxesLike, drawing, panel_grid, title_panel
from mimprobe.figures.selection import depth_of, metric_rows, models_of, stage_starts

KERNEL_LABELS = {
    "kernel_distance": "kernel distance",
    "kernel_entropy": "kernel entropy",
    "kernel_entropy_normalised": "normalised kernel entropy",
}
"""What axes call the metrics."""

HALF_WIDTH = 0.42
"""Half the width of a shape, where its distribution is densest; layers are 1 apart."""

STEPS = 128
"""Heights at which the density of a shape is drawn."""

Values = npt.NDArray[np.float64]


def kernel_distance(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how far kernels reach; see `kernel_panels` for arguments, values and errors."""
    return kernel_panels(
        table, metric="kernel_distance", models=models, styles=styles, axes=axes, figure=figure
    )


def kernel_entropy(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how broad kernels are; see `kernel_panels` for arguments, values and errors."""
    return kernel_panels(
        table, metric="kernel_entropy", models=models, styles=styles, axes=axes, figure=figure
    )


def kernel_panels(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a metric of kernels: for each layer the shape, quartiles and median of its channels.

    All panels share the value axis; dotted verticals part the stages. Arguments are those of
    `heads.head_panels`, the table is `kernels` of a `Result`.

    Returns:
        The axes, one for each model.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or the axes are not as many as the models.
    """
    rows = metric_rows(table, metric, models, of="channel")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    unit = str(rows["unit"].iloc[0])
    with drawing():
        panels = panel_grid(len(names), square=False, axes=axes, figure=figure)
        for panel, name in zip(panels, names, strict=True):
            own = rows[rows["model"] == name]
            for layer in stage_starts(own):
                panel.axvline(layer + 0.5, color=RULE, linewidth=1.2, linestyle=":", zorder=0.6)
            for layer, values in _by_layer(own):
                _draw_spread(panel, layer + 1, values, looks[name])
            title_panel(panel, name, kinds[name], looks[name])
            set_layer_axis(panel, depth_of(rows, name))
            panel.set_ylim(value_limits(rows["value"]))
        label_outer(panels, "layer", KERNEL_LABELS[metric] + ("" if unit == "1" else f" ({unit})"))
    return panels


def _by_layer(rows: pd.DataFrame) -> Iterator[tuple[int, Values]]:
    """Give the finite values of each layer's channels."""
    for layer, own in rows.groupby("layer"):
        values = own["value"].to_numpy(float)
        if np.isfinite(values).any():
            yield int(str(layer)), values[np.isfinite(values)]


def _draw_spread(axes: Axes, place: int, values: Values, look: Style) -> None:
    """Draw a shape, and over it the quartiles and the median."""
    heights, widths = density(values)
    axes.fill_betweenx(
        heights, place - HALF_WIDTH * widths, place + HALF_WIDTH * widths, color=look.color,
        alpha=0.28, linewidth=0, zorder=1,
    )  # fmt: skip
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    axes.plot(
        [place, place], [low, high], color=look.color, linewidth=2.4, solid_capstyle="butt",
        zorder=2,
    )  # fmt: skip
    axes.plot(
        [place], [middle], marker="o", markersize=4.6, color="white", markeredgecolor=look.color,
        markeredgewidth=1.4, linestyle="", zorder=3,
    )  # fmt: skip


def density(values: Values) -> tuple[Values, Values]:
    """Give heights from the least to the largest value, and the density there, at most 1.

    A sum of Gaussians of Scott's width; channels that are all alike give one full-width line.
    """
    low, high = float(values.min()), float(values.max())
    width = float(values.std()) * len(values) ** -0.2
    if width <= 1e-9 * max(abs(low), abs(high)):
        return np.array([low, high]), np.ones(2)
    heights = np.linspace(low, high, STEPS)
    found = np.exp(-0.5 * ((heights[:, None] - values[None, :]) / width) ** 2).sum(1)
    return heights, found / found.max()
