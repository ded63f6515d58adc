"""Checkpoint cards: one TOML file that says all there is to know about a checkpoint.

What belongs here: the record and its checks. What does not: where cards lie (`shelf`), and reading
weights (`weights`).
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CardError, MimprobeError, UnknownNameError
from mimprobe.tables import KINDS

SECTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "": (("name", "title", "kind", "source", "licence"), ("paper", "training", "results")),
    "weights": (
        ("file",),
        ("addresses", "checksum", "top_key", "converter", "missing", "unexpected", "remark"),
    ),
    "architecture": (("name", "heads", "prefix_tokens"), ("arguments", "parameters")),
    "preprocessing": (("input_size", "mean", "std", "interpolation", "crop_pct"), ("crop_mode",)),
}
"""Compulsory and optional entries of each section; "" is the top of the file."""


@dataclass(frozen=True)
class WeightsEntry:
    """Where a card's weights are and how they are read.

    Attributes:
        file: name of the file, beside the card or in the cache.
        addresses: from where it can be had, the best first; none if the user must bring it.
        checksum: `sha256:` or `md5:` with the digest or its first digits; empty if not published.
        top_key: entry of the file that holds the tensors; None for the usual ones.
        converter: which renaming of `zoo.convert` applies.
        missing: names of the network that the file may lack, as patterns, with the reason.
        unexpected: names of the file that may be left over, as patterns, with the reason.
        remark: what a user must know to get the file.
    """

    file: str
    addresses: tuple[str, ...] = ()
    checksum: str = ""
    top_key: str | None = None
    converter: str = "as_is"
    missing: Mapping[str, str] = field(default_factory=dict)
    unexpected: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True)
class Card:
    """A checkpoint's card.

    Attributes:
        name: how users refer to it; also the name of the TOML file.
        title: one line for people.
        kind: of training, one of `tables.KINDS`.
        source: who made the weights, and how.
        licence: of the weights.
        paper: of the method, if there is one.
        folder: where the card stands.
        weights: where its weights are and how they are read.
        architecture: name of a timm model, or of one in `zoo.build`.
        arguments: passed to it.
        parameters: how many it has; None where the card does not say.
        heads: attention heads of each block, or of each stage; a checkpoint does not tell, so it
            is checked. 0 for networks without attention.
        prefix_tokens: tokens before the patches; checked.
        preprocessing: what the network expects of an image.
        training: how it was made, as free entries.
        results: what it reaches, as free entries, each with its source.
    """

    name: str
    title: str
    kind: str
    source: str
    licence: str
    paper: str
    folder: Path
    weights: WeightsEntry
    architecture: str
    arguments: Mapping[str, Any]
    parameters: int | None
    heads: tuple[int, ...]
    prefix_tokens: int
    preprocessing: Preprocessing
    training: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Mapping[str, Any], ...] = ()

    @property
    def bundled_weights(self) -> Path | None:
        """The weights beside the card, if they are there."""
        path = self.folder / self.weights.file
        return path if path.is_file() else None

    def describe(self) -> dict[str, Any]:
        """Give what a report shows of the card, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "licence": self.licence,
            "paper": self.paper,
            "weights": self.weights.file,
            "addresses": list(self.weights.addresses),
            "checksum": self.weights.checksum,
            "training": dict(self.training),
            "results": [dict(result) for result in self.results],
        }


def read_card(path: Path) -> Card:
    """Read and check a card.

    Raises:
        CardError: not TOML, an entry is missing, unknown or of the wrong type, or contradicts
            another.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"card {path} cannot be read: {error}") from error
    try:
        return _checked(path, entries)
    except MimprobeError as error:
        raise CardError(f"card {path}: {error}") from error


def _checked(path: Path, entries: dict[str, Any]) -> Card:
    for section, (required, optional) in SECTIONS.items():
        found = _table(section, entries.get(section, {})) if section else entries
        nested = tuple(name for name in SECTIONS if name) if not section else ()
        _require_entries(section, found, required, (*optional, *nested))
    if entries["name"] != path.stem:
        raise CardError(f"it is named {entries['name']!r}, its file {path.stem!r}")
    if entries["kind"] not in KINDS:
        raise UnknownNameError("kind of training", str(entries["kind"]), KINDS)
    architecture = entries["architecture"]
    heads = architecture["heads"]
    return Card(
        name=entries["name"],
        title=_text("title", entries["title"]),
        kind=entries["kind"],
        source=_text("source", entries["source"]),
        licence=_text("licence", entries["licence"]),
        paper=_text("paper", entries.get("paper", "")),
        folder=path.parent,
        weights=_weights(entries["weights"]),
        architecture=_text("architecture.name", architecture["name"]),
        arguments=_table("architecture.arguments", architecture.get("arguments", {})),
        parameters=_count("parameters", architecture.get("parameters"), optional=True),
        heads=_heads(heads),
        prefix_tokens=_count("prefix_tokens", architecture["prefix_tokens"]) or 0,
        preprocessing=Preprocessing.from_dict(entries["preprocessing"]),
        training=_table("training", entries.get("training", {})),
        results=tuple(_table("results", result) for result in entries.get("results", ())),
    )


def _require_entries(
    section: str, found: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    place = f"section [{section}]" if section else "the top"
    absent = [key for key in required if key not in found]
    if absent:
        raise CardError(f"it lacks {', '.join(absent)} in {place}")
    for key in found:
        if key not in (*required, *optional):
            raise UnknownNameError(f"entry in {place}", key, (*required, *optional))


def _weights(entries: Mapping[str, Any]) -> WeightsEntry:
    file = _text("weights.file", entries["file"])
    if Path(file).name != file:
        raise CardError(f"weights.file must be a plain file name, not {file!r}")
    addresses = entries.get("addresses", [])
    if not isinstance(addresses, list):
        raise CardError("weights.addresses must be a list of texts")
    top_key = entries.get("top_key")
    return WeightsEntry(
        file=file,
        addresses=tuple(_text("weights.addresses", address) for address in addresses),
        checksum=_checksum(_text("weights.checksum", entries.get("checksum", ""))),
        top_key=None if top_key is None else _text("weights.top_key", top_key),
        converter=_text("weights.converter", entries.get("converter", "as_is")),
        missing=_table("weights.missing", entries.get("missing", {})),
        unexpected=_table("weights.unexpected", entries.get("unexpected", {})),
        remark=_text("weights.remark", entries.get("remark", "")),
    )


def _checksum(text: str) -> str:
    algorithm, _, digits = text.partition(":")
    longest = {"sha256": 64, "md5": 32}.get(algorithm, 0)
    hexadecimal = digits and set(digits) <= set("0123456789abcdef")
    if text and not (hexadecimal and len(digits) <= longest):
        raise CardError(
            f"checksum {text!r} is not 'sha256:' or 'md5:' with small hexadecimal digits"
        )
    return text


def _heads(value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(_count("heads", one) or 0 for one in listed)


def _count(what: str, value: object, *, optional: bool = False) -> int | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CardError(f"{what} must be a whole number, not {value!r}")
    return value


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise CardError(f"{what} must be a text, not {value!r}")
    return value


def _table(what: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CardError(f"{what} must be a table, not {value!r}")
    return value
