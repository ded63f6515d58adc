"""Which figures a table gives.

What belongs here: names and captions of figures, and with what they are drawn. What does not:
drawing (`figures`), files (`rendering`) and the other words around a figure (`sections`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures import (
    FIGURES,
    LABELS,
    Style,
    attention_offset,
    attention_profile,
    curve_panels,
    head_pairs,
    head_panels,
    kernel_panels,
    layer_means,
    pair_maps,
    pair_maps_between,
    readout,
    receptive_field,
)
from mimprobe.report.layer_plates import layer_test_plates
from mimprobe.report.plate import Plate
from mimprobe.report.steps import step_plates
from mimprobe.tables import LAYER_TESTS, STEP

NOTHING = 1e-3
"""Largest mass, or relative difference of two curves, that is not worth a figure."""


def plates_of(
    name: str, table: pd.DataFrame, styles: Mapping[str, Style],
    manifest: Mapping[str, Any] = MappingProxyType({}),
) -> list[Plate]:  # fmt: skip
    """List the figures of an analyzer's table; none for analyzers without figures."""
    if name not in FIGURES or table.empty:
        return []
    if STEP in table:
        return list(step_plates(table, styles))
    if name in LAYER_TESTS:
        return list(layer_test_plates(name, table, styles, manifest))
    if name in _PLATES:
        return list(_PLATES[name](table, styles))
    metrics = [str(metric) for metric in dict.fromkeys(table["metric"])]
    if "other_model" in table:
        draw = _similarity_plates
    elif table["head"].isna().all():
        draw = _layer_plates
    else:
        draw = _head_plates
    return [plate for metric in metrics for plate in draw(table, metric, styles)]


def _head_plates(table: pd.DataFrame, metric: str, styles: Mapping[str, Style]) -> Iterator[Plate]:
    """Give heads by model, then layer means of all models, unless that would say nothing new."""
    rows = table[table["metric"] == metric]
    models = rows["model"].nunique()
    if metric in ("padding_mass", "masked_mass") and not (rows["value"] > NOTHING).any():
        return
    if not metric.endswith("_normalised"):
        yield Plate(
            metric,
            "Dots are heads, the line is their mean"
            + (f"; a panel for each of the {models} models." if models > 1 else "."),
            lambda figure: head_panels(table, metric=metric, styles=styles, figure=figure),
        )
    elif _only_rescales(table, metric):
        return
    if models > 1:
        yield Plate(
            f"{metric}_means",
            "Layer means of all models in one panel.",
            lambda figure: layer_means(table, metric=metric, styles=styles, figure=figure),
        )


def _only_rescales(table: pd.DataFrame, metric: str) -> bool:
    """Say whether normalising rescales one axis: where all models have as many keys, as far off."""
    wide = table.pivot_table(
        index=["model", "layer"], columns="metric", values="value", dropna=False
    )
    scale = wide[metric.removesuffix("_normalised")] / wide[metric]
    return bool(scale.max() - scale.min() < NOTHING * scale.mean())


def _layer_plates(table: pd.DataFrame, metric: str, styles: Mapping[str, Style]) -> Iterator[Plate]:
    """Give the values of layers in one panel, or their curves by model."""
    rows = table[table["metric"] == metric]
    if "at" in rows and rows["at"].notna().any():
        yield Plate(
            metric,
            "A curve for each layer, the first dark and the last light.",
            lambda figure: curve_panels(table, metric=metric, styles=styles, figure=figure),
        )
        return
    yield Plate(
        metric,
        "One point for each layer.",
        lambda figure: layer_means(table, metric=metric, styles=styles, figure=figure),
    )


def _similarity_plates(
    table: pd.DataFrame, metric: str, styles: Mapping[str, Style]
) -> Iterator[Plate]:
    """Give the layers of each model against each other, then those of every two models."""
    label = LABELS[metric][:1].upper() + LABELS[metric][1:]
    yield Plate(
        metric,
        f"{label} between the layers of each model.",
        lambda figure: pair_maps(table, metric=metric, styles=styles, figure=figure),
    )
    if table["model"].nunique() > 1:
        yield Plate(
            f"{metric}_between",
            f"{label} between the layers of two models, a panel for each pair: one model upwards, "
            "the other to the right.",
            lambda figure: pair_maps_between(table, metric=metric, styles=styles, figure=figure),
        )


def _offset_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    yield Plate(
        "attention_offset",
        "Mean attention around the query (ring), some layers and heads of each model; up is up in "
        "the image.",
        lambda figure: attention_offset(table, styles=styles, figure=figure),
    )


def _profile_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    yield Plate(
        "attention_profile",
        "Thin lines are heads, the thick line is their mean; grey is uniform attention.",
        lambda figure: attention_profile(table, styles=styles, figure=figure),
    )


def _pair_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    yield Plate(
        "head_pairs",
        "KL from each head (row) to each other head (column), in some layers of each model.",
        lambda figure: head_pairs(table, styles=styles, figure=figure),
    )
    yield Plate(
        "head_distance",
        "Distance between the maps of every two heads, in some layers of each model.",
        lambda figure: head_pairs(table, metric="head_distance", styles=styles, figure=figure),
    )
    yield Plate(
        "head_distance_means",
        "Distance between heads, mean over the pairs of a layer.",
        lambda figure: layer_means(table, metric="head_distance", styles=styles, figure=figure),
    )


def _kernel_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    """Give distance and normalised entropy; in nats it differs by the kernels' sizes alone."""
    for metric in ("kernel_distance", "kernel_entropy_normalised"):
        yield Plate(
            metric,
            "Shapes are the spread over channels, bars reach from quartile to quartile, dots are "
            "medians.",
            partial(_draw_kernels, table, styles, metric),
        )


def _draw_kernels(
    table: pd.DataFrame, styles: Mapping[str, Style], metric: str, figure: Figure
) -> Sequence[Axes]:
    return kernel_panels(table, metric=metric, styles=styles, figure=figure)


def _receptive_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    yield Plate(
        "receptive_field",
        "Contribution of each pixel to the middle of the feature map, on one logarithmic scale.",
        lambda figure: receptive_field(table, styles=styles, figure=figure),
    )


def _readout_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    yield Plate(
        "readout",
        "Accuracy by layer: a panel for each read-out and pooling; chance is dotted.",
        lambda figure: readout(table, styles=styles, figure=figure),
    )


_PLATES: Mapping[str, Callable[[pd.DataFrame, Mapping[str, Style]], Iterator[Plate]]] = {
    "attention_offset": _offset_plates,
    "attention_profile": _profile_plates,
    "head_pairs": _pair_plates,
    "kernels": _kernel_plates,
    "receptive_field": _receptive_plates,
    "readout": _readout_plates,
}
"""Tables whose figures are not dots for heads."""
