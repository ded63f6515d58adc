"""What all figures share: type, lines, panels, titles and ticks.

What belongs here: the look of axes. What does not: data.

Nothing outside a call is changed: each figure function draws inside `drawing()`, and makes a
pyplot figure only where the caller passes neither axes nor a figure, so that notebooks show it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mimprobe.errors import OptionError
from mimprobe.figures.palette import Style, kind_style

AxesLike = Axes | Sequence[Axes] | npt.NDArray[np.object_]

INK, FAINT, RULE = "#22262B", "#5B636D", "#DDE1E6"
"""Colours of text, of lesser text, and of grid lines."""

PAGE_INCHES = 9.6
"""Width of the widest figure: 920 px on a page, where type keeps its size."""

TITLE_INCHES = 0.1
"""Width of a wide letter in a title."""

ROW_PANELS = 4
"""Most panels that stand side by side."""

_LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK,
    "text.usetex": False, "text.parse_math": False,
    "figure.facecolor": "white", "savefig.facecolor": "white",
    "figure.constrained_layout.use": False,
    "axes.facecolor": "white", "axes.edgecolor": FAINT, "axes.linewidth": 0.8,
    "axes.labelcolor": INK, "axes.labelsize": 9, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": RULE, "grid.linewidth": 0.7,
    "grid.linestyle": "-", "grid.alpha": 1.0,
    "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlecolor": INK, "axes.unicode_minus": True,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "legend.frameon": False, "legend.fontsize": 9,
}  # fmt: skip


@contextmanager
def drawing() -> Iterator[None]:
    """Draw a figure in this look.

    Only the settings of the look are put back: `rc_context` would put back all, and so switch off
    the interactive mode that a notebook's backend switches on when its first figure is made.
    """
    before = {key: mpl.rcParams[key] for key in _LOOK}
    mpl.rcParams.update(_LOOK)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def new_figure(figure: Figure | None, width: float, height: float) -> Figure:
    """Take the caller's empty figure, or make one that notebooks show; in inches."""
    if figure is None:
        return plt.figure(figsize=(width, height), layout="constrained")
    figure.set_layout_engine("constrained")
    figure.set_size_inches(width, height)
    return figure


def panel_grid(
    count: int, *, square: bool, axes: AxesLike | None, figure: Figure | None
) -> list[Axes]:
    """Take the caller's axes, or lay out `count` panels in rows of equal length.

    Raises:
        OptionError: not as many axes as panels.
    """
    if axes is not None:
        return given_axes(axes, count)
    rows = -(-count // ROW_PANELS)
    columns = -(-count // rows)
    width = {1: 4.6, 2: 7.2}.get(columns, PAGE_INCHES)
    height = (width - 0.9) / columns + 0.65 if square else 2.7
    grid = new_figure(figure, width, height * rows + 0.2).subplots(rows, columns, squeeze=False)
    for spare in grid.flat[count:]:
        spare.remove()
    return list(grid.flat[:count])


def layer_grid(
    counts: Sequence[int], *, panel: tuple[float, float], axes: AxesLike | None,
    figure: Figure | None,
) -> list[list[Axes]]:  # fmt: skip
    """Take the caller's axes, or lay out a row of panels for each model.

    Args:
        counts: panels of each model.
        panel: width and height of one, in inches.
        axes: the caller's, all rows behind each other.
        figure: an empty one, or None.

    Raises:
        OptionError: not as many axes as panels.
    """
    if axes is not None:
        given = iter(given_axes(axes, sum(counts)))
        return [[next(given) for _ in range(count)] for count in counts]
    columns = max(counts)
    width = min(PAGE_INCHES, 1.3 + columns * panel[0])
    made = new_figure(figure, width, len(counts) * panel[1] + 0.3)
    grid = made.subplots(len(counts), columns, squeeze=False)
    for row, count in zip(grid, counts, strict=True):
        for spare in row[count:]:
            spare.remove()
    return [list(row[:count]) for row, count in zip(grid, counts, strict=True)]


def given_axes(axes: AxesLike, count: int) -> list[Axes]:
    """Check the caller's axes.

    Raises:
        OptionError: not as many axes as panels.
    """
    given: list[Axes] = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(given) != count:
        raise OptionError(f"this figure has {count} panels, but {len(given)} axes were passed")
    return given


def is_outer(axes: Axes) -> tuple[bool, bool]:
    """Say whether a panel stands in the first column, and whether nothing stands below it."""
    place = axes.get_subplotspec()
    if place is None:
        return True, True
    below = [
        other
        for one in axes.figure.axes
        if (other := one.get_subplotspec()) is not None
        and other.rowspan.start > place.rowspan.start
        and other.colspan.start == place.colspan.start
    ]
    return place.is_first_col(), not below


def layer_ticks(depth: int, most: int) -> list[int]:
    """Choose the layers, counted from 1, that an axis names.

    They are multiples of a step, at most `most` where that can be, and the first and the last layer
    where they stand clear of those.
    """
    for step in (1, 2, 3, 4, 6, 8, 12, 24):
        if depth // step <= most:
            break
    ticks = list(range(step, depth + 1, step))
    if depth - ticks[-1] > step / 2:
        ticks.append(depth)
    return [1, *ticks] if step > 2 else ticks


def log_axis(axes: Axes, side: str, limits: tuple[float, float]) -> None:
    """Make the `x` or `y` axis logarithmic, with plain numbers: 1, 2, 5, 10 on a short one."""
    axes.set(**{f"{side}scale": "log", f"{side}lim": limits})
    steps = (1.0,) if limits[1] > 100 * limits[0] else (1.0, 2.0, 5.0)
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def short_name(name: str, width: int, lines: int = 2) -> str:
    """Break a name into lines of at most `width` letters, after its separators if that is enough.

    The middle of a name that is too long for all lines is left out.
    """
    plain = " ".join(name.split())
    if len(plain) > width * lines:
        keep = (width * lines - 1) // 2
        plain = f"{plain[:keep]}…{plain[-keep:]}"
    rows = [""]
    for part in re.split(r"(?<=[._:/…-])(?=[^._:/-])", plain):
        if rows[-1] and len(rows[-1]) + len(part) > width:
            rows.append("")
        rows[-1] += part
    if len(rows) > lines or max(map(len, rows)) > width:
        rows = [plain[start : start + width] for start in range(0, len(plain), width)]
    return "\n".join(row.strip() for row in rows)


def title_panel(axes: Axes, model: str, kind: str, look: Style) -> None:
    """Write a model's name over a panel, and under it its colour and kind of training."""
    place = axes.get_subplotspec()
    columns = 1 if place is None else place.get_gridspec().ncols
    inches = axes.figure.bbox.width / axes.figure.dpi / columns
    axes.set_title(short_name(model, max(12, int(inches / TITLE_INCHES))), pad=17)
    for text, right, color in (("■", 0, look.color), (kind_style(kind).label, 11, FAINT)):
        axes.annotate(
            text, (0, 1), (right, 5), xycoords="axes fraction", textcoords="offset points",
            color=color, fontsize=8.5,
        )  # fmt: skip
