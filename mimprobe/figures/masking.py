"""How far masked pixels are from visible ones, by mask ratio and mask patch.

What belongs here: figures of masks. What does not: drawing masks and measuring them.
"""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.panels import AxesLike, drawing, given_axes, log_axis, new_figure

BEST_BAND = (10.0, 20.0)
"""AvgDist at which SimMIM (arXiv 2111.09886) finds the best accuracy, in px of a 192 px input."""

MARKERS = "os^Dvph*X"


def mask_distance(
    table: pd.DataFrame, *, axes: AxesLike | None = None, figure: Figure | None = None
) -> list[Axes]:
    """Draw AvgDist against the mask ratio, a curve for each mask patch, with the paper's band.

    The bars are 95 % intervals; where they are shorter than a marker they hide behind it.

    Args:
        table: from `mask_distances`.
        axes: one, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Raises:
        OptionError: no row has a value, or several strategies or inputs.
    """
    known = table[table["value"].notna()]
    settings = known[["strategy", "input_height", "input_width"]].drop_duplicates()
    if len(settings) != 1:
        raise OptionError(f"the figure shows one strategy and input size, not {len(settings)}")
    strategy, height, width = settings.iloc[0]
    with drawing():
        if axes is not None:
            (panel,) = given_axes(axes, 1)
        else:
            panel = new_figure(figure, 6.6, 3.7).subplots()
        band = panel.axhspan(*BEST_BAND, color="#DE6208", alpha=0.13, linewidth=0, zorder=0)
        band.set_label("best in the paper")
        _draw_curves(panel, known)
        reach = known["value"].min(), max(known["value"].max(), BEST_BAND[1])
        log_axis(panel, "y", (float(reach[0]) / 1.25, float(reach[1]) * 1.25))
        panel.set(xlabel="mask ratio", ylabel="AvgDist (px)")
        panel.set_title(f"{strategy} masks, {height} x {width} px input")
    return [panel]


def _draw_curves(panel: Axes, known: pd.DataFrame) -> None:
    patches = sorted(known["mask_patch"].unique())
    colors = colormaps["viridis"](np.linspace(0.85, 0.05, len(patches)))
    for number, patch in enumerate(patches):
        rows = known[known["mask_patch"] == patch].sort_values("mask_ratio")
        panel.errorbar(
            rows["mask_ratio"], rows["value"], yerr=1.96 * rows["se"], color=colors[number],
            marker=MARKERS[number % len(MARKERS)], markersize=4.5, linewidth=1.4, elinewidth=1,
            capsize=2, label=f"{patch} px",
        )  # fmt: skip
    (band, *curves), (told, *names) = panel.get_legend_handles_labels()
    panel.legend(
        [*curves[::-1], band], [*names[::-1], told], title="mask patch", loc="center left",
        bbox_to_anchor=(1.0, 0.5), alignment="left",
    )  # fmt: skip
