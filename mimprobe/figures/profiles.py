"""Share of attention by distance: a curve for each head, a row of layers for each model.

What belongs here: the figure of the attention profile. What does not: rings (`measures.offsets`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures.heads import draw_means
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    FAINT,
    INK,
    RULE,
    AxesLike,
    drawing,
    is_outer,
    layer_grid,
    title_panel,
)
from mimprobe.figures.selection import chosen_layers, head_rows, layer_rows, metric_rows, models_of


def attention_profile(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, layers: Sequence[int] | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the share of attention in each ring around the query against its distance.

    Thin lines are heads, the thick one is their mean with its 95 % band, and the grey area is what
    uniform attention gives. The value axis is shared, and so is the distance within a model.

    Args:
        table: the table `attention_profile` of a `Result`, in memory or read back.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model and layer, to draw into, layers of a model beside each other.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.
        layers: which layers, counted from 0; first, middle and last by default.

    Returns:
        The axes, one for each model and layer.

    Raises:
        UnknownNameError: the table has no such model.
        OptionError: the table is empty, a model has no such layer, or the axes are not as many as
            the panels.
    """
    rows = metric_rows(table, "attention_profile", models, of="distance_low")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    chosen = {name: chosen_layers(rows, name, layers) for name in names}
    with drawing():
        counts = [len(own) for own in chosen.values()]
        grid = layer_grid(counts, panel=(2.8, 2.3), axes=axes, figure=figure)
        for panels, name in zip(grid, names, strict=True):
            own = rows[(rows["model"] == name) & rows["layer"].isin(chosen[name])]
            for panel, layer in zip(panels, chosen[name], strict=True):
                _draw_curves(panel, own[own["layer"] == layer], looks[name])
                _tag_layer(panel, layer)
                panel.set_xlim(0, float(own["distance_high"].max()))
            title_panel(panels[0], name, kinds[name], looks[name])
        flat = [panel for panels in grid for panel in panels]
        high = max(panel.dataLim.y1 for panel in flat)
        for panel in flat:
            panel.set_ylim(0, 1.04 * high)
            first_column, lowest = is_outer(panel)
            panel.set_xlabel("distance (px)" if lowest else "")
            panel.set_ylabel("share of attention" if first_column else "")
            panel.tick_params(labelleft=first_column)
    return flat


def _draw_curves(axes: Axes, rows: pd.DataFrame, look: Style) -> None:
    """Draw heads, their mean and uniform attention, each ring at its middle."""
    means = layer_rows(rows).sort_values("distance_low")
    middles = _middles(means)
    axes.fill_between(middles, means["uniform"], color=RULE, alpha=0.8, linewidth=0, zorder=0.5)
    axes.plot(middles, means["uniform"], color=FAINT, linewidth=0.8, linestyle=":", zorder=0.6)
    for _, head in head_rows(rows).groupby("head"):
        own = head.sort_values("distance_low")
        axes.plot(
            _middles(own), own["value"], color=look.color, linewidth=0.7, alpha=0.45, zorder=2
        )
    draw_means(axes, middles, means, look)


def _middles(rows: pd.DataFrame) -> np.ndarray:
    """Give the middle of each ring in pixels; the innermost is the query's own patch, at 0."""
    low, high = (rows[f"distance_{end}"].to_numpy(float) for end in ("low", "high"))
    return np.where(low > 0, (low + high) / 2, 0.0)


def _tag_layer(axes: Axes, layer: int) -> None:
    """Write a layer, counted from 1, over the right end of a panel."""
    axes.annotate(
        f"layer {layer + 1}", (1, 1), (0, 5), xycoords="axes fraction",
        textcoords="offset points", ha="right", color=INK, fontsize=8.5,
    )  # fmt: skip
