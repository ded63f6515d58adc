"""Figures as files: the same picture as SVG for the page, and as PNG and PDF for talks and papers.

What belongs here: drawing a plate into bytes. What does not: which plates there are (`plates`).
"""

import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from mimprobe.report.plate import Plate

PNG_DPI = 200

_FILE_LOOK: dict[Any, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "mimprobe",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure in three formats."""

    svg: bytes
    png: bytes
    pdf: bytes


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
