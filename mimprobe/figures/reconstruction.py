"""Images with hidden patches beside what a model painted there.

What belongs here: figures of reconstructions. What does not: painting (`experiments`).
"""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimprobe.errors import OptionError
from mimprobe.figures.palette import kind_style
from mimprobe.figures.panels import (
    FAINT,
    INK,
    PAGE_INCHES,
    AxesLike,
    drawing,
    given_axes,
    new_figure,
    short_name,
)
from mimprobe.tables.painting import Reconstruction

VIEWS = ("input", "masked input", "output", "completed input")
"""What is drawn of each image."""

MOST_INCHES = 2.2
"""Widest a picture is drawn."""

RIM, GAP, BETWEEN, HEADING, FOOT = 0.1, 0.05, 0.25, 0.5, 0.22
"""Inches: around all, between an image's pictures, between images, above, below each picture."""


def reconstruction(
    shown: Reconstruction, *, axes: AxesLike | None = None, figure: Figure | None = None
) -> list[Axes]:
    """Draw four pictures of each image: itself, masked, the output, the output in its hidden part.

    From four images on, two stand side by side. Under the output stands the mean absolute error on
    hidden pixels, in the normalised units of the network's input: SimMIM's loss.

    Args:
        shown: from `reconstruct`.
        axes: four for each image, to draw into.
        figure: an empty figure to draw into; a pyplot figure is made if neither is given.

    Returns:
        Four axes for each image, in the order of the images.

    Raises:
        OptionError: there are no images, or the axes are not as many.
    """
    if not shown.ids:
        raise OptionError("the reconstruction has no images")
    with drawing():
        if axes is not None:
            panels = given_axes(axes, len(VIEWS) * len(shown.ids))
        else:
            panels = _lay_out(shown, figure)
        masked, pasted = shown.masked, shown.pasted
        for i, name in enumerate(shown.ids):
            row = panels[len(VIEWS) * i : len(VIEWS) * (i + 1)]
            pictures = (shown.pictures[i], masked[i], shown.output[i], pasted[i])
            for panel, picture in zip(row, pictures, strict=True):
                _draw(panel, picture)
            _below(row[0], short_name(name.rsplit("/", 1)[-1], 22, 1))
            _below(row[2], f"error {shown.error[i]:.2f}")
    return panels


def _lay_out(shown: Reconstruction, figure: Figure | None) -> list[Axes]:
    """Make a row of four axes for each image, in one or two columns of images."""
    count, (height, width) = len(shown.ids), shown.pictures.shape[1:3]
    across = 1 if count < len(VIEWS) else 2
    down = -(-count // across)
    block = (PAGE_INCHES - 2 * RIM - (across - 1) * BETWEEN) / across
    side = min(MOST_INCHES, (block + GAP) / len(VIEWS) - GAP)
    block, tall = (side + GAP) * len(VIEWS) - GAP, side * height / width
    size = 2 * RIM + across * block + (across - 1) * BETWEEN, HEADING + (tall + FOOT) * down
    page = new_figure(figure, *size)
    page.set_layout_engine("none")
    panels = []
    for number in range(count):
        row, column = divmod(number, across)
        bottom = size[1] - HEADING - row * (tall + FOOT) - tall
        for view, title in enumerate(VIEWS):
            left = RIM + column * (block + BETWEEN) + view * (side + GAP)
            place = left / size[0], bottom / size[1], side / size[0], tall / size[1]
            panel = page.add_axes(place)
            if row == 0:
                panel.set_title(title, fontsize=8, fontweight="normal", color=FAINT, pad=3)
            panels.append(panel)
    page.text(
        RIM / size[0], 1 - RIM / size[1],
        f"{shown.model} ({kind_style(shown.kind).label}): {shown.masking}",
        ha="left", va="top", color=INK, fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    return panels


def _draw(panel: Axes, picture: npt.NDArray[np.float32]) -> None:
    panel.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)


def _below(panel: Axes, text: str) -> None:
    panel.set_xlabel(text, fontsize=6.5, color=FAINT, labelpad=2, loc="left")
