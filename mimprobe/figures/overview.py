"""Layer means of all models in one picture.

What belongs here: figures that lay models over each other. What does not: heads (`heads`).
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures.heads import band_ends, draw_means, set_layer_axis, value_label, value_limits
from mimprobe.figures.palette import Style, model_styles
from mimprobe.figures.panels import (
    INK,
    AxesLike,
    drawing,
    given_axes,
    log_axis,
    new_figure,
    short_name,
)
from mimprobe.figures.selection import depth_of, layer_rows, metric_rows, models_of

Looks = Mapping[str, Style]

LOGARITHMIC = ("feature_norm", "activation_ratio")
"""Metrics that may grow a hundredfold from one layer to the next."""

LABEL_GAP = 0.075
"""Least distance of two labels, as a share of the height of the axes."""


def layer_means(
    table: pd.DataFrame, *, metric: str | None = None, models: Sequence[str] | None = None,
    styles: Looks | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the values of the layers, or their means over heads, of every model in one panel.

    Each line has its 95 % band and is labelled at its end. Models of one depth are drawn over their
    layers, counted from 1; models of different depth over the share of their layers that lies
    behind.

    Args:
        table: of a `Result`, with one value for each head or layer.
        metric: which of its metrics; the first by default.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        A list of one: the axes.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or more than one axes were passed.
    """
    chosen = metric or str(next(iter(table.get("metric", ())), "metric"))
    rows = metric_rows(table, chosen, models)
    looks = model_styles(table) if styles is None else styles
    names = models_of(rows, models)
    depths = {name: depth_of(rows, name) for name in names}
    with drawing():
        if axes is None:
            panel = new_figure(figure, 7.6, 3.3).subplots()
        else:
            (panel,) = given_axes(axes, 1)
        span = set_depth_axis(panel, depths.values())
        ends = {}
        for name in names:
            means = layer_rows(rows[rows["model"] == name])
            places = (means["layer"].to_numpy(float) + 1) * span / depths[name]
            draw_means(panel, places, means, looks[name])
            panel.plot(
                places, means["value"], linestyle="", marker=looks[name].marker, markersize=5,
                color=looks[name].color, markeredgecolor="white", markeredgewidth=0.5, zorder=4,
            )  # fmt: skip
            if len(drawn := means["value"].to_numpy(float)) and np.isfinite(drawn[-1]):
                ends[name] = (float(places[-1]), float(drawn[-1]))
        _set_values(panel, band_ends(layer_rows(rows)), chosen in LOGARITHMIC)
        panel.set_ylabel(value_label(rows, chosen))
        label_ends(panel, ends, looks)
    return [panel]


def _set_values(panel: Axes, values: "pd.Series[float]", logarithmic: bool) -> None:
    """Set the axis of values; it is logarithmic only where they span more than a decade."""
    positive = values[values > 0]
    if logarithmic and len(positive) and positive.max() > 10 * positive.min():
        log_axis(panel, "y", (0.8 * float(positive.min()), 1.25 * float(positive.max())))
    else:
        panel.set_ylim(value_limits(values))


def set_depth_axis(panel: Axes, depths: Collection[int], *, most: int = 12) -> float:
    """Set the axis over layers of models of these depths, and give how far it reaches."""
    if len(set(depths)) == 1:
        depth = max(depths)
        set_layer_axis(panel, depth, most=most)
        panel.set_xlabel("layer")
        return float(depth)
    panel.set_xlim(0, 1.02)
    panel.set_xlabel("depth (layer / number of layers)")
    return 1.0


EARLY = 0.9
"""Share of the axis before which a curve ends early."""


def label_ends(panel: Axes, ends: Mapping[str, tuple[float, float]], looks: Looks) -> None:
    """Write each model's name beside the end of its line, moved apart where they would touch."""
    to_share = panel.transScale + panel.transLimits
    starts = [tuple(to_share.transform(end)) for end in ends.values()]
    for name, start, height in zip(ends, starts, spread([up for _, up in starts]), strict=True):
        look = looks[name]
        # A curve that ends early is led to its label by dots: a line would look like its end.
        early = start[0] < EARLY
        line = {
            "arrowstyle": "-", "color": look.color, "linewidth": 0.6 if early else 0.9,
            "shrinkA": 4 if early else 0, "shrinkB": 0, "linestyle": ":" if early else "-",
        }  # fmt: skip
        panel.annotate(
            "", start, (1.05, height), xycoords="axes fraction", textcoords="axes fraction",
            arrowprops=line, annotation_clip=False,
        )  # fmt: skip
        panel.plot(
            [1.062], [height], transform=panel.transAxes, clip_on=False, linestyle="",
            marker=look.marker, color=look.color, markersize=5.5,
        )  # fmt: skip
        panel.annotate(
            short_name(name, 30, 1), (1.082, height), xycoords="axes fraction", va="center",
            color=INK, annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], gap: float = LABEL_GAP) -> list[float]:
    """Move places apart to at least `gap`, as little as possible, and keep their order."""
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(order))
    wanted = np.asarray(places)[order] - steps
    moved = np.empty(len(order))
    moved[order] = _rising(wanted) + steps
    return [float(place) for place in moved]


def _rising(wanted: np.ndarray) -> np.ndarray:
    """Give the nearest rising sequence, by pooling neighbours that fall (isotonic regression)."""
    blocks: list[list[float]] = []
    for value in wanted:
        blocks.append([float(value)])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return np.array([np.mean(block) for block in blocks for _ in block], dtype=float)
