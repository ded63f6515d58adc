"""Small pictures in a line, as HTML that needs no other file: how a notebook shows an image set."""

import base64
import html
import io
from collections.abc import Iterable

from PIL import Image

SIDE = 96
"""Longest side of a thumbnail in pixels."""


def contact_sheet(pictures: Iterable[tuple[str, Image.Image | None]]) -> str:
    """Lay out named pictures; None stands for one that cannot be read."""
    figures = "".join(_figure(name, picture) for name, picture in pictures)
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px">{figures}</div>'


def _figure(name: str, picture: Image.Image | None) -> str:
    text = html.escape(name)
    shown = "<i>unreadable</i>" if picture is None else f'<img alt="{text}" src="{_data(picture)}">'
    short = html.escape(name if len(name) <= 16 else f"...{name[-13:]}")
    return (
        f'<figure title="{text}" style="margin:0;font-size:11px;text-align:center">{shown}'
        f"<figcaption>{short}</figcaption></figure>"
    )


def _data(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
