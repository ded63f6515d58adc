"""Figures as files: the same picture as SVG for the page, and as PNG and PDF for talks and papers.

What belongs here: which figures a table gives, and rendering them. What does not: drawing
(`figures`) and the words around a figure (`sections`).
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures import (
    FIGURES,
    Style,
    cka_between,
    head_panels,
    kernel_panels,
    layer_means,
    receptive_field,
)

PNG_DPI = 200
NOTHING = 1e-3
"""Largest mass, or relative difference of two curves, that is not worth a figure."""

_FILE_LOOK: dict[Any, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "mimprobe",
    "pdf.fonttype": 42,
}

Draw = Callable[[Figure], Sequence[Axes]]


@dataclass(frozen=True)
class Plate:
    """A figure to be drawn: its file name, what it shows, and how it is drawn."""

    name: str
    caption: str
    draw: Draw


@dataclass(frozen=True)
class Picture:
    """A drawn figure in three formats."""

    svg: bytes
    png: bytes
    pdf: bytes


def plates_of(name: str, table: pd.DataFrame, styles: Mapping[str, Style]) -> list[Plate]:
    """List the figures of an analyzer's table; none for analyzers without figures."""
    if name not in FIGURES or table.empty:
        return []
    if name in PLATES:
        return list(PLATES[name](table, styles))
    return [
        plate
        for metric in dict.fromkeys(table["metric"])
        for plate in _head_plates(table, str(metric), styles)
    ]


def _head_plates(table: pd.DataFrame, metric: str, styles: Mapping[str, Style]) -> Iterator[Plate]:
    """Give heads by model, then layer means of all models, unless that would say nothing new."""
    rows = table[table["metric"] == metric]
    models = rows["model"].nunique()
    if metric in ("padding_mass", "masked_mass") and not (rows["value"] > NOTHING).any():
        return
    if metric != "attention_entropy_normalised":
        yield Plate(
            metric,
            "Dots are heads, the line is their mean"
            + (f"; a panel for each of the {models} models." if models > 1 else "."),
            lambda figure: head_panels(table, metric=metric, styles=styles, figure=figure),
        )
    elif _same_keys(table):
        return
    if models > 1:
        yield Plate(
            f"{metric}_means",
            "Layer means of all models in one panel.",
            lambda figure: layer_means(table, metric=metric, styles=styles, figure=figure),
        )


def _same_keys(table: pd.DataFrame) -> bool:
    """Say whether all models have as many keys: then normalising the entropy rescales one axis."""
    wide = table.pivot_table(
        index=["model", "layer"], columns="metric", values="value", dropna=False
    )
    keys = wide["attention_entropy"] / wide["attention_entropy_normalised"]
    return bool(keys.max() - keys.min() < NOTHING * keys.mean())


def _similarity_plates(table: pd.DataFrame, styles: Mapping[str, Style]) -> Iterator[Plate]:
    within = FIGURES["cka"]
    yield Plate(
        "cka",
        "CKA between the layers of each model.",
        lambda figure: within(table, styles=styles, figure=figure),
    )
    if table["model"].nunique() > 1:
        yield Plate(
            "cka_between",
            "CKA between the layers of two models, a panel for each pair: one model upwards, the "
            "other to the right.",
            lambda figure: cka_between(table, styles=styles, figure=figure),
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


PLATES = {
    "cka": _similarity_plates,
    "kernels": _kernel_plates,
    "receptive_field": _receptive_plates,
}
"""Figures of tables that have no heads."""


def render(plate: Plate) -> Picture:
    """Draw a plate in all formats: the same bytes for the same table, whatever the user's style."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_FILE_LOOK)
        figure = Figure()
        plate.draw(figure)
        _fix_layout(figure)
        return Picture(
            svg=_saved(figure, "svg", {"Date": None, "Creator": "mimprobe"}),
            png=_saved(figure, "png", {"Software": "mimprobe"}),
            pdf=_saved(figure, "pdf", {"CreationDate": None, "Creator": "mimprobe"}),
        )


def _fix_layout(figure: Figure) -> None:
    """Lay out once for all formats; every save would do it again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)


def _saved(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()
