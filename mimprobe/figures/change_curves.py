"""What is left of networks of which more and more blocks are changed, all models in one panel.

What belongs here: the curves of layer tests. What does not: single blocks (`block_losses`), heads
(`head_losses`) and pairs of blocks (`exchanges`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mimprobe.figures.heads import band_ends, draw_means, value_label, value_limits
from mimprobe.figures.overview import label_ends
from mimprobe.figures.palette import Style, model_styles
from mimprobe.figures.panels import FAINT, AxesLike, drawing, given_axes, new_figure
from mimprobe.figures.selection import metric_rows, models_of
from mimprobe.tables.layer_tests import DRIFT, block_rows, curve_rows, exchange_rows, over_seeds

READOUTS = ("finetune_accuracy", "linear_accuracy", "knn_accuracy", DRIFT)
"""Metrics of layer tests, the one that tells most first."""

ACROSS = {
    "swap": "blocks that changed places",
    "drop": "last blocks left out",
    "reset": "last blocks with fresh weights",
    "heads": "heads masked",
}
"""What the axis of a test counts."""


def layer_swap(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what is left after exchanges of blocks; see `change_curves` for the rest."""
    return change_curves(table, models=models, styles=styles, axes=axes, figure=figure)


def layer_drop(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what is left without the last blocks; see `change_curves` for the rest."""
    return change_curves(table, models=models, styles=styles, axes=axes, figure=figure)


def change_curves(
    table: pd.DataFrame, *, metric: str | None = None, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None, chance: float | None = None,
    depths: Mapping[str, int] | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the means over seeds against the number of blocks changed, the intact network at 0.

    Each line has its 95 % band and is labelled at its end. Where models have different depths, the
    axis is the share of the blocks that were changed.

    Args:
        table: of a layer test, in memory or read back.
        metric: an accuracy, or `drift`; the dearest read-out of the table by default.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.
        chance: accuracy of guessing, marked by a dotted line.
        depths: blocks of each model, where the table does not tell: in networks with stages some
            have no other to change places with.

    Returns:
        A list of one: the axes.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or more than one axes were passed.
    """
    chosen = metric or dearest(table)
    rows = metric_rows(table, chosen, models, of="changed")
    looks = model_styles(table) if styles is None else styles
    blocks = {name: blocks_of(rows, name, depths) for name in models_of(rows, models)}
    lines = {name: _line(rows, name) for name in blocks}
    shares = len(set(blocks.values())) > 1
    with drawing():
        if axes is None:
            panel = new_figure(figure, 7.6, 3.3).subplots()
        else:
            (panel,) = given_axes(axes, 1)
        places = {
            name: line["changed"].to_numpy(float) / (blocks[name] if shares else 1)
            for name, line in lines.items()
        }
        # No further than the points: a label's line over empty axes would look like the curve.
        _set_axes(panel, rows, shares=shares, most=max([1e-9, *np.concatenate([*places.values()])]))
        shown = band_ends(pd.concat(lines.values()))
        marked = pd.Series([] if chance is None or chosen == DRIFT else [chance], dtype=float)
        panel.set_ylim(value_limits(pd.concat([shown, marked])))
        _mark_chance(panel, marked)
        ends = {}
        for name, line in lines.items():
            _draw_line(panel, places[name], line, looks[name])
            if len(line) and np.isfinite(float(line["value"].iloc[-1])):
                ends[name] = (float(places[name][-1]), float(line["value"].iloc[-1]))
        panel.set_ylabel(value_label(rows, chosen))
        label_ends(panel, ends, looks)
    return [panel]


def dearest(table: pd.DataFrame) -> str:
    """Name the metric of a layer test that tells most, or any."""
    present = dict.fromkeys(table.get("metric", ()))
    found = next((metric for metric in READOUTS if metric in present), None)
    return found or str(next(iter(present), READOUTS[0]))


def blocks_of(rows: pd.DataFrame, model: str, depths: Mapping[str, int] | None = None) -> int:
    """Give a model's blocks: as known, and at least all that were changed."""
    own = rows[rows["model"] == model]
    last = pd.concat([block_rows(own), exchange_rows(own)])["layer"].max()
    found = max(1, int(own["changed"].max()), 0 if pd.isna(last) else int(last) + 1)
    return max(found, (depths or {}).get(model, 0))


def _line(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    return over_seeds(curve_rows(rows[rows["model"] == model])).sort_values("changed")


def _draw_line(panel: Axes, places: np.ndarray, line: pd.DataFrame, look: Style) -> None:
    draw_means(panel, places, line, look)
    panel.plot(
        places, line["value"].to_numpy(float), linestyle="", marker=look.marker, markersize=5,
        color=look.color, markeredgecolor="white", markeredgewidth=0.5, zorder=4,
    )  # fmt: skip


def _set_axes(panel: Axes, rows: pd.DataFrame, *, shares: bool, most: float) -> None:
    across = ACROSS.get(str(rows["test"].iloc[0]), "blocks changed")
    panel.set_xlim(-0.03 * most, 1.03 * most)
    if shares:
        panel.xaxis.set_major_formatter(PercentFormatter(1.0))
        panel.set_xlabel(f"{across} (share of all)")
        return
    panel.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 4, 5, 10], integer=True))
    panel.set_xlabel(across)


def _mark_chance(panel: Axes, chance: "pd.Series[float]") -> None:
    for value in chance:
        panel.axhline(value, color=FAINT, linewidth=1.0, linestyle=":", zorder=1)
        panel.annotate(
            "chance", (0, value), (4, 3), xycoords=("axes fraction", "data"), color=FAINT,
            textcoords="offset points", fontsize=8.5,
        )  # fmt: skip
