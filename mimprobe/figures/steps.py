"""Layers against the step of training: a line for each layer, or for each head of some layers.

What belongs here: figures of tables with a column `step`. What does not: one network at one time.

The colour of a line is the depth of its layer, from dark to light; layers are counted from 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mimprobe.figures.curves import layer_bars, layer_color
from mimprobe.figures.heads import INTERVAL, band_ends, label_outer, value_label, value_limits
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import INK, AxesLike, drawing, layer_grid, panel_grid, title_panel
from mimprobe.figures.selection import (
    chosen_layers,
    depth_of,
    head_rows,
    layer_rows,
    metric_rows,
    models_of,
)

ACROSS = "training step"

FEW = 24
"""Most steps whose values are marked by dots; more would hide the line."""

MOST_PANELS = 4
"""Layers whose heads are shown by default, evenly spread from the first to the last."""

ROOM = 0.09
"""Share of a small panel's height that its layer is written into."""


def cka_to_final(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how alike each layer is to itself at the end; see `layer_steps` for the rest."""
    return layer_steps(
        table, metric="cka_to_final", models=models, styles=styles, axes=axes, figure=figure
    )


def layer_steps(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a line with its 95 % band for each layer against the step; panels share the value axis.

    Args:
        table: with a column `step`, such as `RUN/probe/attention_distance.csv`.
        metric: which of its metrics, with one value for each layer or the mean over its heads.
        models: which runs, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each model; the colour bars' are not among them.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or without steps, or the axes are not as many as the
            models.
    """
    rows = layer_rows(metric_rows(table, metric, models, of="step"))
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    with drawing():
        if len(names) == 1 and axes is None:
            panels = layer_grid([1], panel=(6.0, 2.9), axes=None, figure=figure)[0]
        else:
            panels = panel_grid(len(names), square=False, axes=axes, figure=figure)
        limits = value_limits(band_ends(rows))
        for panel, name in zip(panels, names, strict=True):
            own = rows[rows["model"] == name]
            depth = depth_of(own, name)
            for layer, line in own.groupby("layer"):
                _draw_line(panel, line, layer_color(int(str(layer)), depth))
            title_panel(panel, name, kinds[name], looks[name])
            _set_axes(panel, own, limits)
        layer_bars(panels, [depth_of(rows, name) for name in names])
        label_outer(panels, ACROSS, value_label(rows, metric))
    return panels


def head_steps(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, layers: Sequence[int] | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a thin line for each head against the step, in a small panel for each layer.

    The thick line is the mean over the layer's heads with its 95 % band. All panels share axes.

    Args:
        table: with columns `step` and `head`.
        metric: which of its metrics.
        models: which runs, a row of panels for each; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model and layer, layers of a model beside each other.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.
        layers: which layers, counted from 0; four spread from first to last by default.

    Returns:
        The axes, one for each model and layer.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or without steps, or the axes are not as many as panels.
    """
    rows = metric_rows(table, metric, models, of="step")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    chosen = {name: _layers(rows, name, layers) for name in names}
    with drawing():
        counts = [len(own) for own in chosen.values()]
        grid = layer_grid(counts, panel=(2.2, 2.3), axes=axes, figure=figure)
        low, high = value_limits(rows["value"])
        for panels, name in zip(grid, names, strict=True):
            own = rows[rows["model"] == name]
            depth = depth_of(own, name)
            for panel, layer in zip(panels, chosen[name], strict=True):
                _draw_heads(panel, own[own["layer"] == layer], layer_color(layer, depth))
                _tag(panel, layer)
                _set_axes(panel, own, (low, high + ROOM * (high - low)))
            title_panel(panels[0], name, kinds[name], looks[name])
        flat = [panel for panels in grid for panel in panels]
        label_outer(flat, ACROSS, value_label(rows, metric))
    return flat


def _draw_line(axes: Axes, rows: pd.DataFrame, color: tuple[float, ...]) -> None:
    """Draw one line with its band; where there are few steps, dots say which."""
    line = rows.sort_values("step")
    step, value = line["step"].to_numpy(float), line["value"].to_numpy(float)
    reach = INTERVAL * line["se"].to_numpy(float)
    axes.fill_between(step, value - reach, value + reach, color=color, alpha=0.2, linewidth=0)
    axes.plot(
        step, value, color=color, linewidth=1.5, marker="o" if len(line) <= FEW else "",
        markersize=3.2, markeredgewidth=0,
    )  # fmt: skip


def _draw_heads(axes: Axes, rows: pd.DataFrame, color: tuple[float, ...]) -> None:
    for _, head in head_rows(rows).groupby("head"):
        own = head.sort_values("step")
        axes.plot(own["step"], own["value"], color=color, linewidth=0.8, alpha=0.5)
    _draw_line(axes, layer_rows(rows), color)


def _tag(axes: Axes, layer: int) -> None:
    """Write a layer, counted from 1, into the room at the top of a panel."""
    axes.annotate(
        f"layer {layer + 1}", (0.5, 0.99), xycoords="axes fraction", ha="center", va="top",
        color=INK, fontsize=8.5,
    )  # fmt: skip


def _layers(rows: pd.DataFrame, model: str, layers: Sequence[int] | None) -> list[int]:
    """Choose layers: those asked for, else some that are evenly spread."""
    if layers is not None:
        return chosen_layers(rows, model, layers)
    present = sorted(int(layer) for layer in rows.loc[rows["model"] == model, "layer"].unique())
    places = np.linspace(0, len(present) - 1, min(MOST_PANELS, len(present))).round().astype(int)
    return [present[place] for place in places]


def _set_axes(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Show all steps, and name few of them by whole numbers."""
    last = max(1, int(rows["step"].max()))
    axes.set_xlim(-0.02 * last, 1.02 * last)
    axes.set_ylim(limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
