"""Models and circumstances of a result, as text.

What belongs here: reading the manifest, of which every entry may be missing. What does not:
measured values.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimprobe.figures import Style, kind_style
from mimprobe.report.loading import loading_lines
from mimprobe.report.wording import counted
from mimprobe.tables import Result

Entries = list[tuple[str, str]]

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class ModelFacts:
    """A model's row in the table of models, and what folds out of it."""

    name: str
    color: str
    kind: str
    cells: Sequence[str]
    title: str
    details: Sequence[tuple[str, Entries]]


MODEL_COLUMNS = ("Architecture", "Parameters", "Layers", "Heads", "Prefix tokens", "Input")


def model_facts(model: Mapping[str, Any], look: Style) -> ModelFacts:
    """Describe one model."""
    card = model.get("card") or {}
    weights = {key: model.get(key) for key in ("reference", "sha256", "family")}
    groups = {
        "Weights": weights,
        "Loading": loading_lines(model.get("load_report") or {}),
        "Preprocessing": model.get("preprocessing"),
        "Card": {key: card.get(key) for key in ("source", "licence", "paper", "addresses")},
        "Training": card.get("training"),
        "Results": card.get("results"),
    }
    return ModelFacts(
        name=str(model["name"]),
        color=look.color,
        kind=kind_style(str(model.get("kind", "other"))).label,
        cells=[
            str(model.get("arch", UNKNOWN)),
            _millions(model.get("parameters")),
            str(model.get("layers", UNKNOWN)),
            _heads(model),
            str(model.get("prefix_tokens", UNKNOWN)),
            _size(model.get("input_size")),
        ],
        title=str(card.get("title", "")),
        details=[(title, rows) for title, value in groups.items() if (rows := entries(value))],
    )


def entries(value: object, name: str = "") -> Entries:
    """Flatten nested data into named lines; leave out what is empty."""
    if _is_empty(value):
        return []
    if isinstance(value, Mapping):
        return [
            line
            for key, inner in value.items()
            for line in entries(inner, f"{name}, {key}" if name else str(key))
        ]
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(inner, Mapping) for inner in value):
            return [line for inner in value for line in [(name, _in_one_line(inner))]]
        return [(name, ", ".join(_plain(inner) for inner in value))]
    return [(name, _plain(value))]


def _is_empty(value: object) -> bool:
    """Say whether there is nothing to tell; 0 and `False` are something."""
    return value is None or value in ("", [], {})


def _in_one_line(value: object) -> str:
    if isinstance(value, Mapping):
        told = {key: inner for key, inner in value.items() if not _is_empty(inner)}
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in told.items())
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _millions(parameters: int | None) -> str:
    if parameters is None:
        return UNKNOWN
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e5 else f"{parameters:,}"


def _heads(model: Mapping[str, Any]) -> str:
    if not model.get("attention", True):
        return "no attention"
    heads = list(dict.fromkeys(model.get("heads") or []))
    return ", ".join(str(count) for count in heads) or UNKNOWN


def _size(size: Sequence[int] | None) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(str(side) for side in size) if size else UNKNOWN


def run_facts(manifest: Mapping[str, Any]) -> list[tuple[str, Entries]]:
    """Describe how the numbers were made."""
    images, learnt = manifest.get("images", {}), manifest.get("train_images", {})
    how = (
        "command", "created", "seconds", "seconds_waiting", "device", "precision", "batch_size",
        "processes", "workers", "seed",
    )  # fmt: skip
    names = {"seconds_waiting": "seconds of these waiting for data", "workers": "decoding workers"}
    named = {names.get(key, key.replace("_", " ")): manifest.get(key) for key in how}
    for key in ("seconds", "seconds_waiting"):
        if isinstance(manifest.get(key), int | float):
            named[names.get(key, key)] = f"{manifest[key]:.1f}"
    groups = {
        "Run": named,
        "Watching": manifest.get("watched", {}),
        "Images": {
            "source": images.get("source"),
            "images": images.get("n"),
            "sha256 of the list": images.get("sha256"),
            "skipped": len(images.get("skipped", [])),
        },
        "Images that read-outs learn from": {
            "source": learnt.get("source"),
            "images": learnt.get("n"),
            "sha256 of the list": learnt.get("sha256"),
        },
        "Versions": {"mimprobe": manifest.get("mimprobe"), **manifest.get("versions", {})},
        "Machine": manifest.get("machine", {}),
    }
    return [(title, rows) for title, value in groups.items() if (rows := entries(value))]


def skipped_images(manifest: Mapping[str, Any]) -> Entries:
    """List the images that were left out, and why."""
    skipped = manifest.get("images", {}).get("skipped", [])
    return [(str(one.get("image", "")), str(one.get("reason", ""))) for one in skipped]


def subtitle(result: Result) -> str:
    """Say in one line how many models saw which images, and when."""
    manifest = result.manifest
    source = manifest.get("images", {}).get("source")
    images = counted(images_seen(result), "image") + (f" of {source}" if source else "")
    parts = [counted(len(manifest.get("models", [])), "model"), images]
    try:
        made = datetime.datetime.fromisoformat(str(manifest.get("created")))
        parts.append(f"{made.day} {made:%B %Y}")
    except ValueError:
        pass
    return " \N{MIDDLE DOT} ".join(parts)


def images_seen(result: Result) -> int:
    """Count the images that were measured, without the skipped ones."""
    counts = [int(table["n"].max()) for table in result.values() if len(table)]
    return max([len(result.per_image.images), *counts])
