"""Maps of the effective receptive field, side by side.

What belongs here: figures of contributions over the pixels of the input. What does not: computing
them (`experiments.receptive_field`).

Contributions range over many powers of ten. Each map is divided by its largest value, so that maps
of inputs of any size compare, and shown on one logarithmic scale; what lies below it is dark.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import AxesLike, drawing, panel_grid, title_panel
from mimprobe.figures.selection import metric_rows, models_of

COLORMAP = colormaps["inferno"]

LOWEST = 1e-4
"""Least share of the largest contribution that is told from none."""

SQUARE = "#7FE3FF"
"""Colour of the squares: told from every colour of the map."""


def receptive_field(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the contribution of every pixel, and the squares that hold a share of it.

    Args:
        table: the table `receptive_field` of a `Result`, in memory or read back.
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
    rows = metric_rows(table, "contribution", models, of="share")
    squares = metric_rows(table, "square_side", models, of="share")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    with drawing():
        panels = panel_grid(len(names), square=True, axes=axes, figure=figure)
        for panel, name in zip(panels, names, strict=True):
            values = _map(rows[rows["model"] == name])
            _draw_map(panel, values)
            _draw_squares(panel, squares[squares["model"] == name])
            title_panel(panel, name, kinds[name], looks[name])
        page = panels[0].figure
        if axes is None and isinstance(page, Figure):
            page.set_layout_engine("compressed")  # else words under and over maps would meet
        _add_bar(panels)
    return panels


def _map(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Give the contributions as a share of the largest."""
    shape = int(rows["row"].max()) + 1, int(rows["column"].max()) + 1
    values = np.zeros(shape)
    values[rows["row"].to_numpy(int), rows["column"].to_numpy(int)] = rows["value"].to_numpy(float)
    largest = values.max()
    return values / largest if largest > 0 else values


def _draw_map(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    axes.imshow(
        np.clip(values, LOWEST, 1), cmap=COLORMAP, norm=LogNorm(LOWEST, 1),
        interpolation="nearest", aspect="auto",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    height, width = values.shape
    axes.set_box_aspect(height / width)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"input of {height} \N{MULTIPLICATION SIGN} {width} px")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _draw_squares(axes: Axes, squares: pd.DataFrame) -> None:
    """Outline the squares, and say below the map which share each of them holds."""
    told = []
    for square in squares[np.isfinite(squares["value"])].sort_values("share").to_dict("records"):
        side = float(square["value"])
        corner = float(square["column"]) - side / 2, float(square["row"]) - side / 2
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=SQUARE, linewidth=1.1))
        told.append(f"{square['share']:.0%} in {side:g} px")
    lines = [",  ".join(told[start : start + 2]) for start in range(0, len(told), 2)]
    axes.set_xlabel("\n".join([axes.get_xlabel(), *lines]), fontsize=8, labelpad=3, linespacing=1.4)


def _add_bar(panels: Sequence[Axes]) -> None:
    bar = panels[0].figure.colorbar(
        ScalarMappable(LogNorm(LOWEST, 1), COLORMAP), ax=panels, extend="min",
        label="contribution / largest", fraction=0.05, pad=0.02, aspect=20, shrink=0.7,
    )  # fmt: skip
    bar.outline.set_visible(False)
