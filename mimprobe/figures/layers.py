"""One line for each model over its layers, for diagnostics that have no heads.

What belongs here: the main figures of tables with one value for each layer. What does not: how the
lines are drawn (`overview`).
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.figures.overview import layer_means
from mimprobe.figures.palette import Style
from mimprobe.figures.panels import AxesLike


def effective_rank(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how many directions the layers fill; see `layer_means` for the rest."""
    return layer_means(
        table, metric="effective_rank", models=models, styles=styles, axes=axes, figure=figure
    )


def token_similarity(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw how alike the patch tokens of an image are; see `layer_means` for the rest."""
    return layer_means(
        table, metric="token_similarity", models=models, styles=styles, axes=axes, figure=figure
    )


def high_frequency(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the amplitude of the highest frequency; see `layer_means` for the rest."""
    return layer_means(
        table, metric="high_frequency", models=models, styles=styles, axes=axes, figure=figure
    )


def feature_norm(
    table: pd.DataFrame, *, models: Sequence[str] | None = None,
    styles: Mapping[str, Style] | None = None, axes: AxesLike | None = None,
    figure: Figure | None = None,
) -> list[Axes]:  # fmt: skip
    """Draw the length of patch tokens; see `layer_means` for the rest."""
    return layer_means(
        table, metric="feature_norm", models=models, styles=styles, axes=axes, figure=figure
    )
