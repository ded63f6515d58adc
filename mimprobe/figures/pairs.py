"""Heat maps of how differently every two heads of a layer look.

What belongs here: figures of metrics between two heads. What does not: computing them.

All maps have one colour scale, which begins at 0. Heads and layers are counted from 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mimprobe.figures.heads import value_label
from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    AxesLike,
    drawing,
    is_outer,
    layer_grid,
    layer_ticks,
    title_panel,
)
from mimprobe.figures.selection import chosen_layers, metric_rows, models_of

COLORMAP = colormaps["viridis"].with_extremes(bad="#E4E4E4")
"""As in the maps of CKA; a head with itself is grey."""

POWERS = {"head_kl": 0.5}
"""Divergence has no largest value and few large ones: a root spreads the small ones."""

Matrix = npt.NDArray[np.float64]


def head_pairs(
    table: pd.DataFrame, *, metric: str = "head_kl", models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, layers: Sequence[int] | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a metric between every two heads, a row of layers for each model.

    Args:
        table: the table `head_pairs` of a `Result`, in memory or read back.
        metric: which of its metrics.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model and layer, to draw into, layers of a model beside each other.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.
        layers: which layers, counted from 0; first, middle and last by default.

    Returns:
        The axes, one for each model and layer; the colour bar's are not among them.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, a model has no such layer, or the axes are not as many as
            the panels.
    """
    rows = metric_rows(table, metric, models, of="other_head")
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    chosen = {name: chosen_layers(rows, name, layers) for name in names}
    with drawing():
        counts = [len(own) for own in chosen.values()]
        grid = layer_grid(counts, panel=(2.3, 2.6), axes=axes, figure=figure)
        flat = [panel for panels in grid for panel in panels]
        places = [(name, layer) for name in names for layer in chosen[name]]
        maps = [_matrix(rows, name, layer) for name, layer in places]
        norm = _norm(maps, POWERS.get(metric, 1.0))
        for panel, (_, layer), values in zip(flat, places, maps, strict=True):
            _draw_map(panel, values, norm)
            panel.set_xlabel(f"other head, layer {layer + 1}")
            panel.set_ylabel("head" if is_outer(panel)[0] else "")
        for panels, name in zip(grid, names, strict=True):
            title_panel(panels[0], name, kinds[name], looks[name])
        bar = flat[0].figure.colorbar(
            ScalarMappable(norm, COLORMAP), ax=flat, label=value_label(rows, metric),
            fraction=0.05, pad=0.02, aspect=24, shrink=0.7,
        )  # fmt: skip
        bar.outline.set_visible(False)
    return flat


def _matrix(rows: pd.DataFrame, model: str, layer: int) -> Matrix:
    """Give the values with heads as rows and the others as columns; NaN on the diagonal."""
    pairs = rows[(rows["model"] == model) & (rows["layer"] == layer) & rows["other_head"].notna()]
    size = int(pairs["head"].max()) + 1 if len(pairs) else 1
    values = np.full((size, size), np.nan)
    at = pairs["head"].to_numpy(int), pairs["other_head"].to_numpy(int)
    values[at] = pairs["value"].to_numpy(float)
    return values


def _norm(maps: Sequence[Matrix], power: float) -> PowerNorm:
    """Span from 0 to the largest value of all maps."""
    seen = np.concatenate([values.ravel() for values in maps])
    seen = seen[np.isfinite(seen)]
    return PowerNorm(power, 0, float(seen.max()) if len(seen) and seen.max() > 0 else 1.0)


def _draw_map(axes: Axes, values: Matrix, norm: PowerNorm) -> None:
    axes.imshow(
        values, origin="lower", cmap=COLORMAP, norm=norm, aspect="auto", interpolation="nearest"
    )
    axes.set_box_aspect(1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    ticks = layer_ticks(len(values), most=4)
    for axis in (axes.yaxis, axes.xaxis):
        axis.set_ticks([tick - 1 for tick in ticks], [str(tick) for tick in ticks])
