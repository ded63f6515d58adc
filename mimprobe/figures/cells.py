"""Heat maps of layers by layers or heads: cells, and the scale of losses.

What belongs here: how a matrix is drawn into a panel, and what all panels of a figure share. What
does not: which values are in it (`similarity`, `exchanges`, `head_losses`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from mimprobe.figures.panels import is_outer, layer_ticks

Matrix = npt.NDArray[np.float64]

LOSSES = colormaps["PuOr_r"].with_extremes(bad="#E4E4E4")
"""White where nothing is lost, orange where something is; safe for colour-blind eyes."""


def loss_norm(maps: Sequence[Matrix]) -> Normalize:
    """Span the largest loss or gain of all maps on both sides of no loss."""
    reach = max([float(np.nanmax(np.abs(values), initial=0)) for values in maps]) or 1.0
    return Normalize(-reach, reach)


def draw_cells(axes: Axes, values: Matrix, norm: Normalize, colors: Colormap) -> None:
    """Draw a matrix from below, rows and columns counted from 1."""
    axes.imshow(
        values, origin="lower", cmap=colors, norm=norm, aspect="auto", interpolation="nearest"
    )
    axes.set_box_aspect(1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for axis, count in zip((axes.yaxis, axes.xaxis), values.shape, strict=True):
        ticks = layer_ticks(count, most=4)
        axis.set_ticks([tick - 1 for tick in ticks], [str(tick) for tick in ticks])


def label_cells(axes: Axes, across: str, up: str) -> None:
    """Say what columns and rows are, beside the outer panels."""
    first_column, lowest = is_outer(axes)
    axes.set_xlabel(across if lowest else "")
    axes.set_ylabel(up if first_column else "")


def add_scale(panels: Sequence[Axes], norm: Normalize, colors: Colormap, label: str) -> None:
    """Put one colour bar beside all panels."""
    bar = panels[0].figure.colorbar(
        ScalarMappable(norm, colors), ax=panels, label=label, fraction=0.05, pad=0.02, aspect=20,
        shrink=0.7,
    )  # fmt: skip
    bar.outline.set_visible(False)
