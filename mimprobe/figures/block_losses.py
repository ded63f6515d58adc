"""What is left when one block is changed: a dot for each block, hanging from the intact network.

What belongs here: the importance of single blocks. What does not: single heads (`head_losses`).

Layers are counted from 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.change_curves import dearest
from mimprobe.figures.heads import (
    band,
    band_ends,
    label_outer,
    set_layer_axis,
    value_label,
    value_limits,
)
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import FAINT, AxesLike, drawing, panel_grid, title_panel
from mimprobe.figures.selection import depth_of, metric_rows, models_of
from mimprobe.tables.layer_tests import block_rows, curve_rows, intact_rows, over_seeds


def layer_reset(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what is left when one block gets fresh weights; see `block_panels` for the rest."""
    return block_panels(table, models=models, styles=styles, axes=axes, figure=figure)


def block_panels(
    table: pd.DataFrame, *, metric: str | None = None, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what is left without each block, a panel for each model.

    The horizontal line is the intact network with its 95 % band; a block hangs from it by what it
    is worth, with the interval of what is left. All panels share the value axis.

    Args:
        table: of a layer test of single blocks, in memory or read back.
        metric: an accuracy, or `drift`; the dearest read-out of the table by default.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each model.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table has no single blocks, or the axes are not as many as the models.
    """
    chosen = metric or dearest(table)
    rows = over_seeds(metric_rows(table, chosen, models, of="test"))
    blocks, whole = block_rows(rows), intact_rows(curve_rows(rows))
    if blocks.empty:
        raise OptionError(f"the table has no {chosen} of single blocks")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(blocks, models), kinds_of(rows)
    with drawing():
        panels = panel_grid(len(names), square=False, axes=axes, figure=figure)
        limits = value_limits(band_ends(pd.concat([blocks, whole])))
        for panel, name in zip(panels, names, strict=True):
            level = _draw_intact(panel, whole[whole["model"] == name])
            _draw_blocks(panel, blocks[blocks["model"] == name], level, looks[name])
            title_panel(panel, name, kinds[name], looks[name])
            set_layer_axis(panel, depth_of(blocks, name))
            panel.set_ylim(limits)
        label_outer(panels, "layer", value_label(rows, chosen))
    return panels


def _draw_intact(axes: Axes, rows: pd.DataFrame) -> float:
    """Draw the intact network as a line with its band, and give its value; NaN without it."""
    if rows.empty:
        return np.nan
    level, (low, high) = float(rows["value"].iloc[0]), (end[0] for end in band(rows))
    axes.axhline(level, color=FAINT, linewidth=1.0, zorder=1)
    if np.isfinite(high):
        axes.axhspan(low, high, color=FAINT, alpha=0.12, linewidth=0, zorder=0.5)
    return level


def _draw_blocks(axes: Axes, rows: pd.DataFrame, level: float, look: Style) -> None:
    """Draw each block with its interval, hanging from the intact network."""
    at, value = rows["layer"].to_numpy(float) + 1, rows["value"].to_numpy(float)
    low, high = band(rows)
    axes.vlines(at, value, level, color=look.color, alpha=0.35, linewidth=3.0, zorder=2)
    axes.errorbar(
        at, value, np.nan_to_num([value - low, high - value]), linestyle="", color=look.color,
        marker=look.marker, markersize=5, markeredgecolor="white", markeredgewidth=0.5,
        elinewidth=1.1, capsize=0, zorder=3,
    )  # fmt: skip
