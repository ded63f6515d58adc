"""Attention laid over the picture that it looks at.

What belongs here: figures of one image. What does not: making the maps (`experiments.overlay`).

Every map has the same colours, opacity and scale. The scale goes with the square root of the mass,
so that the many faint patches of a map can be told apart beside its few strong ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mimprobe.errors import OptionError
from mimprobe.figures.palette import kind_style
from mimprobe.figures.panels import (
    FAINT,
    INK,
    PAGE_INCHES,
    AxesLike,
    drawing,
    given_axes,
    new_figure,
)
from mimprobe.tables.heat import HeatMap, Overlay

COLORMAP = colormaps["inferno"].with_extremes(bad=(1, 1, 1, 1))
"""Dark where a query does not look, and white where it cannot."""

OPACITY = 0.68
"""Of a map over the picture."""

ROW_MAPS = 8
"""Most maps beside the picture."""

BAR_INCHES = 2.4
"""Height of the colour bar, where the figure is not lower."""

CELL_INCHES = 1.45
"""Widest a picture is drawn."""

MARK = "#21E6A8"
"""Colour of the query: told from all colours of the map."""


class Line(NamedTuple):
    """One row of the figure: a label, the maps, and whether the picture stands before them."""

    label: str
    maps: tuple[HeatMap, ...]
    first: bool


def overlay(
    shown: Overlay, *, axes: AxesLike | None = None, figure: Figure | None = None
) -> list[Axes]:
    """Draw maps of attention over the picture, a row for each query and layer.

    Before each row stands the picture as the network saw it, with the query framed. Below a map
    stands how much attention goes to prefix tokens or padding, if that is a percent or more. What
    lies outside a query's window is white. Layers are counted from 1, heads from 0.

    Args:
        shown: from `attention_overlay` or `rollout_overlay`.
        axes: one for each map, to draw the maps alone into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes of the maps, in their order.

    Raises:
        OptionError: there are no maps, or the axes are not as many.
    """
    if not shown.maps:
        raise OptionError("the overlay has no maps: name at least one layer, head and query")
    scale = PowerNorm(0.5, 0, max(float(np.nanmax(heat.mass)) for heat in shown.maps) or 1)
    with drawing():
        if axes is not None:
            panels = given_axes(axes, len(shown.maps))
        else:
            panels = _lay_out(shown, _lines(shown.maps), figure)
        for panel, heat in zip(panels, shown.maps, strict=True):
            _draw_heat(panel, shown.picture, heat, scale)
        if axes is None:
            _add_bar(panels, scale)
    return panels


def _lines(maps: Sequence[HeatMap]) -> list[Line]:
    """Put the heads of one query and layer in rows; of a rollout, the layers of one query."""
    together: dict[object, list[HeatMap]] = {}
    for heat in maps:
        key = (heat.query, None if heat.head is None else heat.layer)
        together.setdefault(key, []).append(heat)
    return [
        Line("" if row[0].head is None else f"layer {row[0].layer + 1}",
             tuple(row[start : start + _row_length(row)]), first=start == 0)
        for row in together.values()
        for start in range(0, len(row), _row_length(row))
    ]  # fmt: skip


def _row_length(maps: Sequence[HeatMap]) -> int:
    """Share maps out over as few rows as will do, evenly: 12 heads stand in two rows of 6."""
    rows = -(-len(maps) // ROW_MAPS)
    return -(-len(maps) // rows)


def _lay_out(shown: Overlay, lines: Sequence[Line], figure: Figure | None) -> list[Axes]:
    """Make a cell for every map, and draw the picture before each row."""
    height, width = shown.picture.shape[:2]
    columns = 1 + max(len(line.maps) for line in lines)
    side = min(CELL_INCHES, (PAGE_INCHES - 1.3) / columns)
    page = new_figure(
        figure, max(side * columns + 1.3, 4.2), (side * height / width + 0.34) * len(lines) + 0.4
    )
    page.set_layout_engine("compressed")
    grid = page.add_gridspec(len(lines), columns)
    panels = []
    for row, line in enumerate(lines):
        if line.first:
            _draw_picture(page.add_subplot(grid[row, 0]), shown.picture, line)
        panels += [page.add_subplot(grid[row, 1 + at]) for at in range(len(line.maps))]
    look = kind_style(shown.kind)
    page.suptitle(
        f"{shown.model} ({look.label}): {shown.quantity}", x=0.01, ha="left", color=INK,
        fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    return panels


def _draw_picture(axes: Axes, picture: npt.NDArray[np.float32], line: Line) -> None:
    """Draw the picture, with the query framed and named."""
    axes.imshow(picture, interpolation="antialiased", aspect="auto")
    _clear(axes, picture)
    heat = line.maps[0]
    _frame(axes, heat)
    axes.set_ylabel(line.label)
    axes.set_title(_query_name(heat), fontsize=7.5, fontweight="normal", color=FAINT, pad=3)


def _query_name(heat: HeatMap) -> str:
    if isinstance(heat.query, str):
        return {"cls": "query: class token", "mean": "mean of all queries"}[heat.query]
    return f"query: patch {heat.query[0]},{heat.query[1]}"


def _draw_heat(
    axes: Axes, picture: npt.NDArray[np.float32], heat: HeatMap, scale: PowerNorm
) -> None:
    """Draw one map over the grey picture, patch by patch, at its true place."""
    grey = picture @ np.array([0.299, 0.587, 0.114])
    axes.imshow(
        grey, cmap="gray", vmin=0, vmax=1, interpolation="antialiased", aspect="auto", zorder=1
    )
    rows, columns = heat.mass.shape
    axes.imshow(
        np.ma.masked_invalid(heat.mass), cmap=COLORMAP, norm=scale, alpha=OPACITY,
        interpolation="nearest", aspect="auto", zorder=2,
        extent=(-0.5, columns * heat.stride[1] - 0.5, rows * heat.stride[0] - 0.5, -0.5),
    )  # fmt: skip
    _clear(axes, picture)
    _frame(axes, heat)
    name = f"layer {heat.layer + 1}" if heat.head is None else f"head {heat.head}"
    axes.set_title(name, fontsize=7.5, fontweight="normal", pad=3)
    if heat.elsewhere >= 0.01:
        axes.set_xlabel(f"{heat.elsewhere:.0%} elsewhere", fontsize=6.5, color=FAINT, labelpad=2)


def _clear(axes: Axes, picture: npt.NDArray[np.float32]) -> None:
    height, width = picture.shape[:2]
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_box_aspect(height / width)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _frame(axes: Axes, heat: HeatMap) -> None:
    """Frame the query's patch."""
    if heat.patch is None:
        return
    height, width = heat.stride
    corner = heat.patch[1] * width - 0.5, heat.patch[0] * height - 0.5
    axes.add_patch(
        Rectangle(corner, width, height, fill=False, edgecolor=MARK, linewidth=1.3, zorder=3)
    )


def _add_bar(panels: Sequence[Axes], scale: PowerNorm) -> None:
    page = panels[0].figure
    share = min(0.95, BAR_INCHES / (page.bbox.height / page.dpi))
    bar = page.colorbar(
        ScalarMappable(scale, COLORMAP), ax=panels, alpha=OPACITY, fraction=0.05, pad=0.02,
        aspect=18, shrink=share, anchor=(0, 1), label="share of a patch",
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5)
    bar.ax.yaxis.label.set_fontsize(8)
