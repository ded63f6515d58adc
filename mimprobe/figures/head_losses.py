"""Heat maps of what each head is worth: the loss when its output is masked.

What belongs here: the importance of single heads. What does not: single blocks (`block_losses`).

All maps have one colour scale, with no loss in its middle. Layers and heads are counted from 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.cells import LOSSES, Matrix, add_scale, draw_cells, label_cells, loss_norm
from mimprobe.figures.change_curves import dearest
from mimprobe.figures.heads import LABELS
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import AxesLike, drawing, panel_grid, title_panel
from mimprobe.figures.selection import depth_of, metric_rows, models_of
from mimprobe.tables.layer_tests import curve_rows, intact_rows, over_seeds, single_head_rows


def layer_heads(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what is lost without each head; see `head_maps` for the rest."""
    return head_maps(table, models=models, styles=styles, axes=axes, figure=figure)


def head_maps(
    table: pd.DataFrame, *, metric: str | None = None, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the loss without each head, intact less masked, a panel for each model.

    Args:
        table: the table `layer_heads` of a `Result`, in memory or read back.
        metric: an accuracy, or `drift`; the dearest read-out of the table by default.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each model; the colour bar's are not among them.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table has no single heads or no intact network, or the axes are not as many
            as the models.
    """
    chosen = metric or dearest(table)
    rows = over_seeds(metric_rows(table, chosen, models, of="head"))
    heads, whole = single_head_rows(rows), intact_rows(curve_rows(rows))
    names, kinds = models_of(heads, models), kinds_of(rows)
    if heads.empty or not set(names) <= set(whole["model"]):
        raise OptionError(f"the table has no {chosen} of single heads and of the intact network")
    looks = model_styles(table) if styles is None else styles
    with drawing():
        panels = panel_grid(len(names), square=True, axes=axes, figure=figure)
        maps = [_losses(heads, whole, name) for name in names]
        norm = loss_norm(maps)
        for panel, name, values in zip(panels, names, maps, strict=True):
            draw_cells(panel, values, norm, LOSSES)
            label_cells(panel, "head", "layer")
            title_panel(panel, name, kinds[name], looks[name])
        add_scale(panels, norm, LOSSES, f"loss of {LABELS[chosen]}")
    return panels


def _losses(heads: pd.DataFrame, whole: pd.DataFrame, model: str) -> Matrix:
    """Give the intact network's value less each head's, layers as rows and heads as columns."""
    own = heads[heads["model"] == model]
    values = np.full((depth_of(own, model), int(own["head"].max()) + 1), np.nan)
    intact = float(whole.loc[whole["model"] == model, "value"].iloc[0])
    at = own["layer"].to_numpy(int), own["head"].to_numpy(int)
    values[at] = intact - own["value"].to_numpy(float)
    return values
