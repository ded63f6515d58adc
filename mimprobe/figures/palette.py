"""Which colour, marker and line a model has in every figure.

What belongs here: the look of a model, and of a kind of training. What does not: drawing.

Colours come from the kind of training. They are told apart by colour-blind eyes (Okabe and Ito's
hues), and in grey print: their lightness forms a ladder, L* = 25, 33, 42, 50, 56, 62. Markers and
dashes differ too, so that no figure rests on colour alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.colors import to_hex, to_rgb

Linestyle = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Style:
    """How a model is drawn; the fields have the names of matplotlib's properties."""

    color: str
    marker: str
    linestyle: Linestyle


@dataclass(frozen=True)
class KindStyle:
    """How a kind of training is called and drawn; its models share colour and dashes."""

    label: str
    color: str
    markers: str
    linestyle: Linestyle


KIND_STYLES: Mapping[str, KindStyle] = {
    "supervised": KindStyle("supervised", "#0A3A7A", "oH", (0, (6.0, 1.5))),
    "distilled": KindStyle("distilled", "#2B7DBC", "Dd", (0, (6.0, 1.5, 1.0, 1.5, 1.0, 1.5))),
    "contrastive": KindStyle("contrastive", "#00735A", "^v<>", (0, (5.0, 1.5, 1.0, 1.5))),
    "mim": KindStyle("masked image modeling", "#DE6208", "sph", "-"),
    "untrained": KindStyle("untrained", "#949494", "X8", (0, (1.2, 1.2))),
    "other": KindStyle("other", "#6B4423", "P*", (0, (9.0, 2.0, 3.0, 2.0))),
}
"""By kind of training: one for each of `tables.KINDS`, in that order."""

SHADES = 0.62
"""How far the shades of one kind reach from its colour towards white or black, at most 1."""


def kind_style(kind: str) -> KindStyle:
    """Look up a kind of training; an unknown one is drawn as `other`."""
    return KIND_STYLES.get(kind, KIND_STYLES["other"])


def model_styles(models: pd.DataFrame | Mapping[str, str]) -> dict[str, Style]:
    """Give every model its look.

    Models of one kind share a hue, and differ in shade and marker. Make the styles once for all
    models of a comparison and pass them to every figure: then a model looks the same in all.

    Args:
        models: a table, or kinds of training by model name.
    """
    kinds = kinds_of(models) if isinstance(models, pd.DataFrame) else models
    together: dict[str, list[str]] = {}
    for model, kind in kinds.items():
        together.setdefault(kind_style(kind).label, []).append(model)
    return {
        model: _shade(kind_style(kind), together[kind_style(kind).label], model)
        for model, kind in kinds.items()
    }


def kinds_of(table: pd.DataFrame) -> dict[str, str]:
    """Give the kind of training of each model of a table, in the table's order."""
    pairs = table[["model", "kind"]].drop_duplicates("model")
    return dict(zip(pairs["model"], pairs["kind"], strict=True))


def _shade(kind: KindStyle, together: list[str], model: str) -> Style:
    """Take a model's shade among those of its kind; the first has the kind's own colour."""
    place = together.index(model)
    rgb = to_rgb(kind.color)
    towards = 1.0 if sum(rgb) < 1.25 else 0.0
    share = SHADES * place / len(together)
    mixed: Any = tuple(channel + share * (towards - channel) for channel in rgb)
    marker = kind.markers[place % len(kind.markers)]
    return Style(to_hex(mixed), marker, kind.linestyle)
