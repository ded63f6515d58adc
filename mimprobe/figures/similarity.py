"""Heat maps of the similarity between layers.

What belongs here: figures of set-level metrics between two layers. What does not: computing them.

All maps have one colour scale, 0 to 1. The unbiased estimate can lie below 0 or above 1: then the
colour bar ends in an arrow, and such a cell has the colour of that end. Layers are counted from 1.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.cells import Matrix, draw_cells
from mimprobe.figures.heads import LABELS
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    PAGE_INCHES,
    AxesLike,
    drawing,
    given_axes,
    is_outer,
    new_figure,
    panel_grid,
    short_name,
    title_panel,
)
from mimprobe.figures.selection import metric_rows, models_of

COLORMAP = colormaps["viridis"].with_extremes(bad="#E4E4E4")
"""Even steps to the eye, safe for colour-blind eyes, and lighter with every step in grey."""


def cka(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the CKA between the layers of each model, a panel for each.

    Args:
        table: the table `cka` of a `Result`, in memory or read back.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each model; the colour bar's are not among them.

    Raises:
        UnknownNameError: the table has no such model.
        OptionError: the table is empty, or the axes are not as many as the models.
    """
    return pair_maps(table, metric="cka", models=models, styles=styles, axes=axes, figure=figure)


def mutual_neighbours(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the neighbours shared by the layers of each model; see `cka` for the rest."""
    return pair_maps(
        table, metric="mutual_neighbours", models=models, styles=styles, axes=axes, figure=figure
    )


def pair_maps(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a metric between the layers of each model; see `cka` for the rest."""
    rows = metric_rows(table, metric, models, of="other_model")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    with drawing():
        panels = panel_grid(len(names), square=True, axes=axes, figure=figure)
        maps = [_matrix(rows, name, name, LABELS[metric]) for name in names]
        for panel, name, values in zip(panels, names, maps, strict=True):
            draw_cells(panel, values, Normalize(0, 1), COLORMAP)
            title_panel(panel, name, kinds[name], looks[name])
            first_column, lowest = is_outer(panel)
            panel.set_xlabel("layer" if lowest else "")
            panel.set_ylabel("layer" if first_column else "")
        _add_bar(panels, maps, None, LABELS[metric])
    return panels


def cka_between(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the CKA between the layers of every two models, a panel for each pair.

    The panels form a staircase with a column for each model but the last, and a row for each but
    the first; a bar along an axis has its model's colour. Arguments are those of `cka`.

    Returns:
        The axes, one for each pair, row by row; the colour bar's are not among them.

    Raises:
        UnknownNameError: the table has no such model.
        OptionError: the table is empty, there are fewer than two models, or the axes are not as
            many as the pairs.
    """
    return pair_maps_between(
        table, metric="cka", models=models, styles=styles, axes=axes, figure=figure
    )


def pair_maps_between(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a metric between the layers of every two models; see `cka_between` for the rest."""
    rows = metric_rows(table, metric, models, of="other_model")
    looks = model_styles(table) if styles is None else styles
    names = models_of(rows, models)
    pairs = sorted(combinations(names, 2), key=lambda pair: names.index(pair[1]))
    if not pairs:
        raise OptionError(
            f"{LABELS[metric]} between models needs two models; see '{metric}' for one"
        )
    with drawing():
        if axes is None:
            panels, corner = _stairs(len(names) - 1, figure)
        else:
            panels, corner = given_axes(axes, len(pairs)), None
        maps = [_matrix(rows, up, across, LABELS[metric]) for across, up in pairs]
        for panel, (across, up), values in zip(panels, pairs, maps, strict=True):
            draw_cells(panel, values, Normalize(0, 1), COLORMAP)
            _label_pair(panel, across, up, looks)
        _add_bar(panels, maps, corner, LABELS[metric])
    return panels


def _stairs(steps: int, figure: Figure | None) -> tuple[list[Axes], Axes | None]:
    """Lay out a staircase of panels, and invisible axes in the corner above it."""
    side = min(2.9, (PAGE_INCHES - 1) / steps)
    made = new_figure(figure, side * steps + (1.1 if steps == 1 else 0.5), side * steps + 0.4)
    grid = made.add_gridspec(steps, steps)
    places = [(row, column) for row in range(steps) for column in range(row + 1)]
    panels = [made.add_subplot(grid[place]) for place in places]
    if steps == 1:
        return panels, None
    corner = made.add_subplot(grid[0, steps // 2 + steps % 2 :])
    corner.set_axis_off()
    return panels, corner


def _matrix(rows: pd.DataFrame, up: str, across: str, label: str) -> Matrix:
    """Give the values with layers of `up` as rows and those of `across` as columns."""
    pair = rows[(rows["model"] == up) & (rows["other_model"] == across)]
    if pair.empty:
        raise OptionError(f"the table has no {label} between {up!r} and {across!r}")
    values = pair.pivot_table(index="layer", columns="other_layer", values="value", dropna=False)
    return values.to_numpy(dtype=float)


def _label_pair(axes: Axes, across: str, up: str, looks: Mapping[str, Style]) -> None:
    """Name the models of a pair along the outer axes, and mark both axes with their colours."""
    first_column, lowest = is_outer(axes)
    axes.tick_params(labelleft=first_column, labelbottom=lowest)
    place = axes.get_subplotspec()
    columns = 1 if place is None else place.get_gridspec().ncols
    words, width, size = ("layer of ", 26, 9) if columns < 4 else ("", 17, 8)
    axes.set_xlabel(short_name(words + across, width) if lowest else "", fontsize=size)
    axes.set_ylabel(short_name(words + up, width) if first_column else "", fontsize=size)
    for side, model in (("bottom", across), ("left", up)):
        axes.spines[side].set(visible=True, color=looks[model].color, linewidth=3)


def _add_bar(
    panels: Sequence[Axes], maps: Sequence[Matrix], corner: Axes | None, label: str
) -> None:
    """Add the one colour bar, in the corner of a staircase or else at the right.

    Arrows at its ends say that values lie beyond.
    """
    below = any(bool(np.nanmin(values, initial=0) < 0) for values in maps)
    above = any(bool(np.nanmax(values, initial=1) > 1) for values in maps)
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    colors, figure = ScalarMappable(Normalize(0, 1), COLORMAP), panels[0].figure
    if corner is None:
        bar = figure.colorbar(
            colors, ax=panels, extend=extend, label=label,
            fraction=0.05, pad=0.02, aspect=20, shrink=0.7,
        )  # fmt: skip
    else:
        place = corner.inset_axes((0.1, 0.6, 0.85, 0.08))
        bar = figure.colorbar(colors, cax=place, extend=extend, label=label, location="top")
    bar.outline.set_visible(False)
