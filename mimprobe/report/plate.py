"""The record of a figure in a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Draw = Callable[[Figure], Sequence[Axes]]


@dataclass(frozen=True)
class Plate:
    """A figure to be drawn: its file name, what it shows, and how it is drawn."""

    name: str
    caption: str
    draw: Draw
