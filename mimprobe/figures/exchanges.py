"""Heat maps of what is lost, or left, when two blocks change places.

What belongs here: all exchanges of two blocks of a model. What does not: curves (`change_curves`).

Accuracies are drawn as what is lost of the intact network's own, so that models which know more and
less can be compared; drift as it is, as intact networks have one and the same. All maps have one
colour scale. Layers are counted from 1. The diagonal, where a block would change places with
itself, is the intact network.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.cells import LOSSES, Matrix, add_scale, draw_cells, label_cells, loss_norm
from mimprobe.figures.change_curves import blocks_of, dearest
from mimprobe.figures.heads import LABELS, value_label
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import AxesLike, drawing, panel_grid, title_panel
from mimprobe.figures.selection import metric_rows, models_of
from mimprobe.figures.similarity import COLORMAP
from mimprobe.tables.layer_tests import DRIFT, curve_rows, exchange_rows, intact_rows, over_seeds


def exchange_maps(
    table: pd.DataFrame, *, metric: str | None = None, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, depths: Mapping[str, int] | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what accuracy is lost, or what CKA is left, after each exchange of two blocks.

    There is a panel for each model.

    Cells of blocks that cannot change places, as of different stages, are grey.

    Args:
        table: the table `layer_swap` of a `Result`, in memory or read back.
        metric: an accuracy, or `drift`; the dearest read-out of the table by default.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.
        depths: blocks of each model, where the table does not tell: in networks with stages some
            have no other to change places with.

    Returns:
        The axes, one for each model; the colour bar's are not among them.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table has no exchanges of two blocks, or no intact network whose accuracy
            could be lost, or the axes are not as many as the models.
    """
    chosen = metric or dearest(table)
    rows = over_seeds(metric_rows(table, chosen, models, of="other_layer"))
    if exchange_rows(rows).empty:
        raise OptionError(f"the table has no {chosen} of two blocks that changed places")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    maps = [_matrix(rows, name, blocks_of(rows, name, depths)) for name in names]
    norm, colors, label = _norm(maps), COLORMAP, value_label(rows, chosen)
    if chosen != DRIFT:
        if any(np.isnan(np.diag(values)).all() for values in maps):
            raise OptionError(f"the table has no {chosen} of the intact network to lose")
        maps = [np.diag(values)[:, None] - values for values in maps]
        norm, colors, label = loss_norm(maps), LOSSES, f"loss of {LABELS[chosen]}"
    with drawing():
        panels = panel_grid(len(names), square=True, axes=axes, figure=figure)
        for panel, name, values in zip(panels, names, maps, strict=True):
            draw_cells(panel, values, norm, colors)
            label_cells(panel, "layer", "layer")
            title_panel(panel, name, kinds[name], looks[name])
        add_scale(panels, norm, colors, label)
    return panels


def _matrix(rows: pd.DataFrame, model: str, size: int) -> Matrix:
    """Give the values by both blocks, with the intact network's on the diagonal."""
    own = rows[rows["model"] == model]
    values = np.full((size, size), np.nan)
    pairs, intact = exchange_rows(own), intact_rows(curve_rows(own))["value"]
    at = pairs["layer"].to_numpy(int), pairs["other_layer"].to_numpy(int)
    values[at] = pairs["value"].to_numpy(float)
    np.fill_diagonal(values, float(intact.iloc[0]) if len(intact) else np.nan)
    return values


def _norm(maps: Sequence[Matrix]) -> Normalize:
    """Span from the smallest to the largest value of all maps."""
    seen = np.concatenate([values[np.isfinite(values)] for values in maps])
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1)
