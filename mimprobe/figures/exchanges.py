"""Heat maps of what is left when two blocks change places.

What belongs here: all exchanges of two blocks of a model. What does not: curves (`change_curves`).

All maps have one colour scale, from the smallest to the largest value of all. Layers are counted
from 1. The diagonal, where a block would change places with itself, is the intact network.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.change_curves import blocks_of, dearest
from mimprobe.figures.heads import value_label
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    AxesLike,
    drawing,
    is_outer,
    layer_ticks,
    panel_grid,
    title_panel,
)
from mimprobe.figures.selection import metric_rows, models_of
from mimprobe.figures.similarity import COLORMAP, Matrix
from mimprobe.tables.layer_tests import curve_rows, exchange_rows, intact_rows, over_seeds


def exchange_maps(
    table: pd.DataFrame, *, metric: str | None = None, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, depths: Mapping[str, int] | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what is left after each exchange of two blocks, a panel for each model.

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
        OptionError: the table has no exchanges of two blocks, or the axes are not as many as the
            models.
    """
    chosen = metric or dearest(table)
    rows = over_seeds(metric_rows(table, chosen, models, of="other_layer"))
    if exchange_rows(rows).empty:
        raise OptionError(f"the table has no {chosen} of two blocks that changed places")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    with drawing():
        panels = panel_grid(len(names), square=True, axes=axes, figure=figure)
        maps = [_matrix(rows, name, blocks_of(rows, name, depths)) for name in names]
        norm = _norm(maps)
        for panel, name, values in zip(panels, names, maps, strict=True):
            _draw_map(panel, values, norm)
            title_panel(panel, name, kinds[name], looks[name])
            first_column, lowest = is_outer(panel)
            panel.set_xlabel("layer" if lowest else "")
            panel.set_ylabel("layer" if first_column else "")
        bar = panels[0].figure.colorbar(
            ScalarMappable(norm, COLORMAP), ax=panels, label=value_label(rows, chosen),
            fraction=0.05, pad=0.02, aspect=20, shrink=0.7,
        )  # fmt: skip
        bar.outline.set_visible(False)
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


def _draw_map(axes: Axes, values: Matrix, norm: Normalize) -> None:
    axes.imshow(
        values, origin="lower", cmap=COLORMAP, norm=norm, aspect="auto", interpolation="nearest"
    )
    axes.set_box_aspect(1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    ticks = layer_ticks(len(values), most=4)
    for axis in (axes.yaxis, axes.xaxis):
        axis.set_ticks([tick - 1 for tick in ticks], [str(tick) for tick in ticks])
