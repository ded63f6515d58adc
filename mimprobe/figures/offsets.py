"""What heads look at around the query: little maps, a block for each model.

What belongs here: the figure of attention by relative offset. What does not: folding maps into
offsets (`measures.offsets`).

Every little map has its query in the middle, under a ring, and one cell for each patch around it.
Rows are layers, columns are heads in the order of the mean distance in their map. Colours say how
many times the attention of an even spread a patch is given: black as much, light more, blue less.
One scale serves all models; its steps are equal factors.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    FAINT,
    INK,
    PAGE_INCHES,
    AxesLike,
    drawing,
    given_axes,
    new_figure,
    title_panel,
)
from mimprobe.figures.selection import chosen_layers, metric_rows, models_of

COLORMAP = LinearSegmentedColormap.from_list(
    "glow",
    [
        (0.0, "#5B92CC"), (0.12, "#33659F"), (0.3, "#1B335C"), (0.5, "#0B0B12"), (0.62, "#5A1B2C"),
        (0.74, "#B5382A"), (0.86, "#F08A1D"), (0.95, "#FFD95A"), (1.0, "#FFFBE0"),
    ],
).with_extremes(bad="#FFFFFF00")  # fmt: skip
"""Black where attention is as an even spread would have it, glowing above that, blue below."""

LEAST_FACTOR, MOST_FACTOR = 2.0, 64.0
"""The colour scale reaches at least and at most so far, in both directions."""

MOST_HEADS = 6
GAP = 0.2
"""Between little maps, as a share of their side."""

Map = npt.NDArray[np.float64]


class Little(NamedTuple):
    """The map of one head: attention at offsets from -reach to +reach, as factors of uniform."""

    head: int
    factors: Map
    distance: float


Block = Mapping[int, Sequence[Little]]
"""What is drawn of one model: little maps by layer."""


def attention_offset(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, layers: Sequence[int] | None = None, heads: int = MOST_HEADS,
) -> list[Axes]:  # fmt: skip
    """Draw the mean attention at each offset from the query.

    Args:
        table: the table `attention_offset` of a `Result`, in memory or read back.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.
        layers: which layers, counted from 0; first, middle and last by default.
        heads: how many heads of a layer at most, evenly chosen from the nearest to the farthest.

    Returns:
        The axes, one for each model; the colour bar's are not among them.

    Raises:
        UnknownNameError: the table has no such model.
        OptionError: the table is empty, a model has no such layer, or the axes are not as many as
            the models.
    """
    rows = metric_rows(table, "attention_offset", models, of="row_offset")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    blocks = {
        name: {
            layer: _little_maps(rows[(rows["model"] == name) & (rows["layer"] == layer)], heads)
            for layer in chosen_layers(rows, name, layers)
        }
        for name in names
    }
    norm = _norm(blocks.values())
    with drawing():
        panels = _panels(list(blocks.values()), axes, figure)
        for panel, name in zip(panels, names, strict=True):
            _draw_block(panel, blocks[name], norm)
            title_panel(panel, name, kinds[name], looks[name])
        _add_bar(panels, norm)
    return panels


def _little_maps(rows: pd.DataFrame, most: int) -> list[Little]:
    """Give the heads of a layer from the nearest to the farthest, at most so many of them."""
    reach = int(rows[["row_offset", "column_offset"]].abs().to_numpy().max())
    maps = [
        _little_map(int(head), rows[rows["head"] == head], reach) for head in rows["head"].unique()
    ]
    maps.sort(key=lambda one: one.distance)
    chosen = np.unique(np.linspace(0, len(maps) - 1, min(most, len(maps))).round().astype(int))
    return [maps[place] for place in chosen]


def _little_map(head: int, rows: pd.DataFrame, reach: int) -> Little:
    row, column = (rows[name].to_numpy(int) for name in ("row_offset", "column_offset"))
    value, uniform = (rows[name].to_numpy(float) for name in ("value", "uniform"))
    factors = np.full((2 * reach + 1, 2 * reach + 1), np.nan)
    factors[row + reach, column + reach] = value / uniform
    weights = np.nan_to_num(value) + np.finfo(float).tiny
    return Little(head, factors, float(np.average(np.hypot(row, column), weights=weights)))


def _norm(blocks: Iterable[Block]) -> LogNorm:
    """Reach as far up and down as almost all cells do, in a round number."""
    factors = np.concatenate(
        [one.factors.ravel() for block in blocks for maps in block.values() for one in maps]
    )
    seen = factors[np.isfinite(factors) & (factors > 0)]
    reach = float(np.exp(np.quantile(np.abs(np.log(seen)), 0.99))) if len(seen) else 1.0
    most = float(np.clip(2 ** np.ceil(np.log2(reach)), LEAST_FACTOR, MOST_FACTOR))
    return LogNorm(1 / most, most)


def _draw_block(axes: Axes, block: Block, norm: LogNorm) -> None:
    """Set the little maps in rows and columns; one unit is the side of a map."""
    step = 1 + GAP
    for line, (layer, maps) in enumerate(block.items()):
        for column, one in enumerate(maps):
            left, top = column * step, line * step
            axes.imshow(
                one.factors, cmap=COLORMAP, norm=norm, interpolation="nearest",
                extent=(left, left + 1, top + 1, top), zorder=1,
            )  # fmt: skip
            _mark_query(axes, left + 0.5, top + 0.5, 1 / len(one.factors))
            axes.text(left + 0.5, top - 0.02, str(one.head + 1), ha="center", va="bottom",
                      color=FAINT, fontsize=6.5)  # fmt: skip
        axes.text(
            -0.07, line * step + 0.5, f"layer {layer + 1}", ha="right", va="center", rotation=90,
            color=INK, fontsize=8,
        )  # fmt: skip
    columns = max(map(len, block.values()))
    axes.set_xlim(-0.02, columns * step - GAP + 0.02)
    axes.set_ylim(len(block) * step - GAP + 0.02, -0.2)
    axes.set_aspect("equal", anchor="NW")
    axes.set_axis_off()
    reaches = sorted({len(one.factors) // 2 for maps in block.values() for one in maps})
    axes.text(
        0, len(block) * step - GAP + 0.06,
        f"heads from near to far; maps reach {' or '.join(map(str, reaches))} patches to each side",
        va="top", color=FAINT, fontsize=8,
    )  # fmt: skip


def _mark_query(axes: Axes, across: float, down: float, patch: float) -> None:
    """Ring the patch of the query itself, without hiding its colour."""
    for color, width in (("black", 1.3), ("white", 0.6)):
        axes.add_patch(
            Circle((across, down), 0.95 * patch, fill=False, edgecolor=color, linewidth=width)
        )


def _panels(blocks: Sequence[Block], axes: AxesLike | None, figure: Figure | None) -> list[Axes]:
    """Lay out the blocks, two in a row from two models on."""
    if axes is not None:
        return given_axes(axes, len(blocks))
    across = min(2, len(blocks))
    down = -(-len(blocks) // across)
    wide = max(len(maps) for block in blocks for maps in block.values())
    side = min(1.15, (PAGE_INCHES - 1.1) / across / (wide * (1 + GAP) + 0.4))
    width = across * (wide * (1 + GAP) + 0.4) * side + 1.1
    height = max(map(len, blocks)) * (1 + GAP) * side + 0.75
    grid = new_figure(figure, width, down * height).subplots(down, across, squeeze=False)
    for spare in grid.flat[len(blocks) :]:
        spare.remove()
    return list(grid.flat[: len(blocks)])


def _add_bar(panels: Sequence[Axes], norm: LogNorm) -> None:
    """Add the one colour bar, its ticks at powers of two or four."""
    bar = panels[0].figure.colorbar(
        ScalarMappable(norm, COLORMAP), ax=list(panels), extend="both",
        label="attention / uniform attention", fraction=0.04, pad=0.02, aspect=22,
        shrink=0.8 if len(panels) < 3 else 0.5, anchor=(0, 1),
    )  # fmt: skip
    most = round(float(np.log2(norm.vmax or 1.0)))
    step = 1 if most < 4 else 2
    powers = [power for power in range(-most, most + 1) if power % step == 0]
    bar.set_ticks(
        [2.0**power for power in powers],
        labels=[f"{2**power}" if power >= 0 else f"1/{2**-power}" for power in powers],
    )
    bar.minorticks_off()
    bar.outline.set_visible(False)
