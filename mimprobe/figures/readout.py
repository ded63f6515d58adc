"""Accuracy of read-outs by layer: a panel for each read-out and pooling, a line for each model.

What belongs here: the figure of the table `readout`. What does not: reading anything out
(`experiments.readouts`).
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mimprobe.figures.heads import band_ends, draw_means, label_outer, value_limits
from mimprobe.figures.overview import set_depth_axis
from mimprobe.figures.palette import Style, model_styles
from mimprobe.figures.panels import FAINT, AxesLike, drawing, layer_grid, short_name
from mimprobe.figures.selection import depth_of, metric_rows, models_of
from mimprobe.tables import CHANCE

READOUT_LABELS = {
    "knn_accuracy": "nearest neighbours",
    "linear_accuracy": "linear probe",
    "attentive_accuracy": "attentive probe",
}
"""What panels call the read-outs."""

POOLING_LABELS = {
    "mean": "mean patch",
    "cls": "class token",
    "both": "mean + class",
    "tokens": "all patches",
}
"""What panels call the poolings."""


def readout(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw accuracy against the layer, with 95 % bands and chance dotted.

    Read-outs are below each other, poolings side by side; all panels share the value axis. Models
    of one depth are drawn over their layers, counted from 1; models of different depth over the
    share of their layers that lies behind.

    Args:
        table: the table `readout` of a `Result`, in memory or read back.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each read-out and pooling, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each read-out and pooling.

    Raises:
        UnknownNameError: the table has no such model.
        OptionError: the table is empty, or the axes are not as many as the panels.
    """
    chance = metric_rows(table, CHANCE, models, of="pooling")
    rows = table[(table["metric"] != CHANCE) & table["model"].isin(chance["model"])]
    looks = model_styles(table) if styles is None else styles
    names = models_of(rows, models)
    shown = {
        str(metric): list(dict.fromkeys(own["pooling"]))
        for metric, own in rows.groupby("metric", sort=False)
    }
    with drawing():
        counts = [len(poolings) for poolings in shown.values()]
        grid = layer_grid(counts, panel=(3.6, 2.5), axes=axes, figure=figure)
        limits = value_limits(pd.concat([band_ends(rows), chance["value"]]))
        for panels, (metric, poolings) in zip(grid, shown.items(), strict=True):
            for panel, pooling in zip(panels, poolings, strict=True):
                own = rows[(rows["metric"] == metric) & (rows["pooling"] == pooling)]
                _draw_panel(panel, own, chance, {name: looks[name] for name in names})
                panel.set_ylim(limits)
                named = READOUT_LABELS.get(metric, metric), POOLING_LABELS.get(pooling, pooling)
                panel.set_title(", ".join(named))
        flat = [panel for panels in grid for panel in panels]
        across = flat[0].get_xlabel()
        label_outer(flat, across, "accuracy")
        _add_legend(flat, {name: looks[name] for name in names}, own_page=axes is None)
    return flat


def _draw_panel(
    panel: Axes, rows: pd.DataFrame, chance: pd.DataFrame, looks: Mapping[str, Style]
) -> None:
    """Draw every model that has this read-out and pooling."""
    depths = {name: depth_of(chance, name) for name in looks}
    span = set_depth_axis(panel, depths.values(), most=6)
    for level in chance["value"].unique():
        panel.axhline(float(level), color=FAINT, linewidth=0.9, linestyle=":", zorder=0.8)
    for name, look in looks.items():
        line = rows[rows["model"] == name].sort_values("layer")
        places = (line["layer"].to_numpy(float) + 1) * span / depths[name]
        draw_means(panel, places, line, look)
        panel.plot(
            places, line["value"], linestyle="", marker=look.marker, markersize=4.5,
            color=look.color, markeredgecolor="white", markeredgewidth=0.5, zorder=4,
        )  # fmt: skip
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _add_legend(panels: Sequence[Axes], looks: Mapping[str, Style], *, own_page: bool) -> None:
    """Name models and chance above the panels, or inside the first of the caller's axes."""
    handles = [
        panels[0].plot(
            [], [], color=look.color, linestyle=look.linestyle, marker=look.marker, markersize=5,
            linewidth=1.8, label=short_name(name, 40, 1),
        )[0]
        for name, look in looks.items()
    ]  # fmt: skip
    handles += panels[0].plot([], [], color=FAINT, linestyle=":", linewidth=0.9, label="chance")
    page = panels[0].figure
    if own_page and isinstance(page, Figure):
        columns = min(len(handles), 4)
        page.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=3.2)
    else:
        panels[0].legend(handles=handles, handlelength=3.2)
