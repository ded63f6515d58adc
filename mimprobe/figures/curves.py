"""Curves of every layer, a panel for each model: how amplitudes and singular values fall off.

What belongs here: figures of metrics that are a curve for each layer. What does not: metrics with
one value for each layer (`layers`).

The colour of a curve is the depth of its layer, from dark to light; layers are counted from 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from mimprobe.figures.heads import INTERVAL, band_ends, label_outer, value_label, value_limits
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    AxesLike,
    drawing,
    layer_ticks,
    log_axis,
    panel_grid,
    title_panel,
)
from mimprobe.figures.selection import depth_of, metric_rows, models_of

COLORMAP = ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))
"""The dark part of the map: its yellow end is hard to see on white."""

ACROSS = {
    "log_amplitude": "frequency (share of the highest)",
    "singular_value": "index of the singular value",
}
"""What the axes of the metrics call a place on the curve."""

LOGARITHMIC = ("singular_value",)
"""Metrics with both axes logarithmic."""


def log_amplitude(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw relative log amplitudes by frequency; see `curve_panels` for the rest."""
    return curve_panels(
        table, metric="log_amplitude", models=models, styles=styles, axes=axes, figure=figure
    )


def singular_values(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw normalised singular values by index; see `curve_panels` for the rest."""
    return curve_panels(
        table, metric="singular_value", models=models, styles=styles, axes=axes, figure=figure
    )


def curve_panels(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a curve for each layer with its 95 % band; all panels share both axes.

    Args:
        table: of a `Result`, in memory or read back.
        metric: which of its metrics that are curves.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each model; the colour bars' are not among them.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or the axes are not as many as the models.
    """
    rows = metric_rows(table, metric, models, of="at")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    logarithmic = metric in LOGARITHMIC
    with drawing():
        panels = panel_grid(len(names), square=False, axes=axes, figure=figure)
        for panel, name in zip(panels, names, strict=True):
            own = rows[rows["model"] == name]
            depth = depth_of(own, name)
            draw_curves(panel, own, depth)
            title_panel(panel, name, kinds[name], looks[name])
            _set_axes(panel, rows, logarithmic)
        layer_bars(panels, [depth_of(rows, name) for name in names])
        label_outer(panels, ACROSS.get(metric, "at"), value_label(rows, metric))
    return panels


def draw_curves(axes: Axes, rows: pd.DataFrame, depth: int) -> None:
    """Draw the curves of one model, the first layer lowest."""
    for layer, curve in rows.sort_values("at").groupby("layer"):
        color = layer_color(int(str(layer)), depth)
        at, value = curve["at"].to_numpy(float), curve["value"].to_numpy(float)
        reach = INTERVAL * curve["se"].to_numpy(float)
        axes.fill_between(at, value - reach, value + reach, color=color, alpha=0.2, linewidth=0)
        axes.plot(at, value, color=color, linewidth=1.3)


def layer_color(layer: int, depth: int) -> tuple[float, ...]:
    """Give the colour of a layer, counted from 0, of a model of so many."""
    color: tuple[float, ...] = COLORMAP(layer / max(1, depth - 1))
    return color


def _set_axes(axes: Axes, rows: pd.DataFrame, logarithmic: bool) -> None:
    value, at = rows["value"], rows["at"]
    if not logarithmic:
        axes.set_ylim(value_limits(band_ends(rows)))
        axes.set_xlim(float(at.min()), float(at.max()))
        return
    log_axis(axes, "x", (0.9, 1.1 * float(at.max())))
    shown = value[value > 0]
    if not shown.empty:
        log_axis(axes, "y", (0.7 * float(shown.min()), 1.4 * float(shown.max())))


def layer_bars(panels: Sequence[Axes], depths: Sequence[int]) -> None:
    """Say which colour is which layer: once where all models have one depth, else by panel."""
    if len(set(depths)) == 1:
        groups = [(list(panels), depths[0])]
    else:
        groups = [([panel], depth) for panel, depth in zip(panels, depths, strict=True)]
    for drawn, depth in groups:
        ticks = layer_ticks(depth, 5 if len(groups) == 1 else 3)
        bar = drawn[0].figure.colorbar(
            ScalarMappable(Normalize(1, max(2, depth)), COLORMAP), ax=drawn, label="layer",
            fraction=0.05, pad=0.02, aspect=20, shrink=0.8, ticks=ticks,
        )  # fmt: skip
        bar.outline.set_visible(False)
