"""One dot for each head against the layer, a panel for each model, as in Figures 2 to 4 of
"Revealing the Dark Secrets of Masked Image Modeling" (arXiv 2205.13543).

What belongs here: figures of metrics with one value for each head. What does not: what a metric
means (`analyzers`), and the look of axes (`panels`).

Layers are counted from 1 on the axis, as the papers do; in tables they count from 0.
"""  # noqa: D205

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures.palette import Style, kinds_of, model_styles
from mimprobe.figures.panels import (
    RULE,
    AxesLike,
    drawing,
    is_outer,
    layer_ticks,
    panel_grid,
    title_panel,
)
from mimprobe.figures.selection import (
    depth_of,
    head_rows,
    layer_rows,
    metric_rows,
    models_of,
    stage_starts,
)
from mimprobe.tables import limits_of

INTERVAL = 1.96
"""Standard errors on either side of a mean that make its 95 % interval."""

LABELS = {
    "attention_distance": "attention distance",
    "attention_distance_normalised": "distance / that of uniform attention",
    "attention_entropy": "attention entropy",
    "attention_entropy_normalised": "normalised entropy",
    "attention_nmi": "query-key information",
    "attention_profile": "share of attention",
    "attention_offset": "attention by offset",
    "head_kl": "KL between heads",
    "head_distance": "distance of heads' maps",
    "mean_map_distance": "distance of heads' average maps",
    "prefix_mass": "share on prefix tokens",
    "padding_mass": "share on padding",
    "masked_mass": "largest share on masked keys",
    "cka": "CKA",
    "cka_to_final": "CKA with the layer at the end",
    "mutual_neighbours": "shared nearest neighbours",
    "effective_rank": "effective rank",
    "singular_value": "share of singular values",
    "token_similarity": "similarity of patch tokens",
    "high_frequency": "high-frequency log amplitude",
    "log_amplitude": "relative log amplitude",
    "feature_norm": "norm of patch tokens",
    "activation_ratio": "largest over median activation",
    "drift": "CKA to the intact network",
    "knn_accuracy": "accuracy of nearest neighbours",
    "linear_accuracy": "accuracy of a linear probe",
    "finetune_accuracy": "accuracy after fine-tuning",
}
"""What axes call the metrics."""


def attention_distance(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how far each head looks; see `head_panels` for arguments, values and errors."""
    return head_panels(
        table, metric="attention_distance", models=models, styles=styles, axes=axes, figure=figure
    )


def attention_entropy(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how broadly each head looks; see `head_panels` for arguments, values and errors."""
    return head_panels(
        table, metric="attention_entropy", models=models, styles=styles, axes=axes, figure=figure
    )


def attention_nmi(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how much of where each head looks depends on the query; see `head_panels`."""
    return head_panels(
        table, metric="attention_nmi", models=models, styles=styles, axes=axes, figure=figure
    )


def head_kl(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how far each head is from the others; see `head_panels` for the rest."""
    return head_panels(
        table, metric="head_kl", models=models, styles=styles, axes=axes, figure=figure
    )


def prefix_mass(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw what each head gives to prefix tokens; see `head_panels` for the rest."""
    return head_panels(
        table, metric="prefix_mass", models=models, styles=styles, axes=axes, figure=figure
    )


def head_panels(
    table: pd.DataFrame, *, metric: str, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw a metric: a dot for each head, a line with its 95 % band for the mean over heads.

    All panels share the value axis. Each spans its model's own layers, so that models of one depth
    share that axis too. Dotted verticals part the stages of staged models.

    Args:
        table: of a `Result`, in memory or read back.
        metric: which of its metrics.
        models: which models, in this order; all by default.
        styles: of all models of a comparison, from `model_styles`; made from the table by default.
        axes: one for each model, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        The axes, one for each model.

    Raises:
        UnknownNameError: the table has no such model or metric.
        OptionError: the table is empty, or the axes are not as many as the models.
    """
    rows = metric_rows(table, metric, models)
    looks = model_styles(table) if styles is None else styles
    names, kinds = models_of(rows, models), kinds_of(rows)
    with drawing():
        panels = panel_grid(len(names), square=False, axes=axes, figure=figure)
        limits = value_limits(head_rows(rows)["value"])
        for panel, name in zip(panels, names, strict=True):
            draw_heads(panel, rows[rows["model"] == name], looks[name])
            title_panel(panel, name, kinds[name], looks[name])
            set_layer_axis(panel, depth_of(rows, name))
            panel.set_ylim(limits)
        label_outer(panels, "layer", value_label(rows, metric))
    return panels


def draw_heads(axes: Axes, rows: pd.DataFrame, look: Style) -> None:
    """Draw one model: its stages, heads, layer means and their interval."""
    heads, means = head_rows(rows), layer_rows(rows)
    for layer in stage_starts(rows):
        axes.axvline(layer + 0.5, color=RULE, linewidth=1.2, linestyle=":", zorder=0.6)
    axes.scatter(
        heads["layer"] + 1, heads["value"], s=17, marker=look.marker, color=look.color, alpha=0.5,
        linewidths=0.3, edgecolors="white", zorder=2,
    )  # fmt: skip
    draw_means(axes, (means["layer"] + 1).to_numpy(), means, look)


def draw_means(axes: Axes, places: np.ndarray, means: pd.DataFrame, look: Style) -> None:
    """Draw layer means as a line with the band of value +- 1.96 standard errors."""
    value, (low, high) = means["value"].to_numpy(float), band(means)
    axes.fill_between(places, low, high, color=look.color, alpha=0.25, linewidth=0, zorder=1)
    axes.plot(places, value, color=look.color, linestyle=look.linestyle, linewidth=1.8, zorder=3)


def band(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Give both ends of the 95 % intervals, NaN where there are none.

    They end where the metric does: an accuracy or CKA of 0.99 +- 0.02 is not drawn beyond 1.
    """
    value, reach = rows["value"].to_numpy(float), INTERVAL * rows["se"].to_numpy(float)
    limits = [limits_of(str(metric)) for metric in rows["metric"]]
    least, most = np.array(limits, dtype=float).reshape(-1, 2).T
    low = np.maximum(value - reach, np.minimum(least, value))
    return low, np.minimum(value + reach, np.maximum(most, value))


def band_ends(rows: pd.DataFrame) -> "pd.Series[float]":
    """List both ends of the 95 % intervals; the values themselves where there are none."""
    value = rows["value"].astype(float)
    low, high = (pd.Series(end, rows.index).fillna(value) for end in band(rows))
    return pd.concat([low, high])


def value_limits(values: "pd.Series[float]") -> tuple[float, float]:
    """Give limits with some room; they begin at zero unless all values lie far from it."""
    finite = values[np.isfinite(values)]
    if finite.empty:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.06 * (high - low or abs(high) or 1.0)
    return (-room / 2 if 0 <= low < 0.6 * high else low - room), high + room


def value_label(rows: pd.DataFrame, metric: str) -> str:
    """Name a metric with its unit; shares have none."""
    unit = str(rows["unit"].iloc[0])
    return LABELS.get(metric, metric) + ("" if unit == "1" else f" ({unit})")


def set_layer_axis(axes: Axes, depth: int, *, most: int = 5) -> None:
    """Show all layers of a model, counted from 1, and name about `most` of them."""
    axes.set_xlim(0.4, depth + 0.6)
    axes.set_xticks(layer_ticks(depth, most))


def label_outer(panels: Sequence[Axes], across: str, up: str) -> None:
    """Label the outer axes only; inner panels keep their ticks but no values."""
    for panel in panels:
        first_column, lowest = is_outer(panel)
        panel.set_xlabel(across if lowest else "")
        panel.set_ylabel(up if first_column else "")
        panel.tick_params(labelleft=first_column)
