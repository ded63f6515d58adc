"""Checkpoint cards: one TOML file that says all there is to know about a checkpoint.

What belongs here: the record, its checks, and where cards lie. What does not: reading weights.

The cards and small weights of our own stand in `pretrained/`, at the top of a checkout and inside
the package of an installed wheel.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CardError, MimprobeError, UnknownNameError
from mimprobe.tables import KINDS

SECTIONS = {
    "": ("name", "title", "kind", "source", "licence"),
    "weights": ("file", "sha256"),
    "architecture": ("name", "heads", "prefix_tokens"),
    "preprocessing": ("input_size", "mean", "std", "interpolation", "crop_pct"),
}
"""Compulsory entries of each section; "" is the top of the file."""


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
        weights: path of the file.
        sha256: of that file.
        architecture: name of a timm model.
        arguments: passed to `timm.create_model`.
        heads: attention heads of each block; a checkpoint does not tell, so it is checked.
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
    weights: Path
    sha256: str
    architecture: str
    arguments: Mapping[str, Any]
    heads: int
    prefix_tokens: int
    preprocessing: Preprocessing
    training: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Mapping[str, Any], ...] = ()

    def describe(self) -> dict[str, Any]:
        """Give what a report shows of the card, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "licence": self.licence,
            "paper": self.paper,
            "training": dict(self.training),
            "results": [dict(result) for result in self.results],
        }


def bundled_directory() -> Path:
    """Find `pretrained/` in a checkout or in an installed package.

    Raises:
        CardError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent
    inside, beside = package / "pretrained", checkout / "pretrained"
    # A checkout is recognised by its pyproject.toml: site-packages may hold anything.
    if (checkout / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    if inside.is_dir():
        return inside
    raise CardError(f"the bundled cards are missing ({inside}); install mimprobe again")


def card_names() -> tuple[str, ...]:
    """List the bundled cards by name."""
    return tuple(sorted(path.stem for path in bundled_directory().glob("*.toml")))


def find_card(name: str) -> Card:
    """Read the bundled card of that name.

    Raises:
        UnknownNameError: there is none.
        CardError: it is damaged.
    """
    path = bundled_directory() / f"{name}.toml"
    if name not in card_names():
        raise UnknownNameError("card", name, card_names(), hint="see 'mimprobe models list'")
    return read_card(path)


def read_card(path: Path) -> Card:
    """Read and check a card.

    Raises:
        CardError: not TOML, an entry is missing, or an entry contradicts another.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"card {path} cannot be read: {error}") from error
    for section, keys in SECTIONS.items():
        found = entries.get(section, {}) if section else entries
        absent = [key for key in keys if key not in found]
        if absent:
            place = f"section [{section}]" if section else "the top"
            raise CardError(f"card {path} lacks {', '.join(absent)} in {place}")
    if entries["name"] != path.stem:
        raise CardError(f"card {path} is named {entries['name']!r}, its file {path.stem!r}")
    if entries["kind"] not in KINDS:
        raise CardError(f"card {path}: kind {entries['kind']!r} is not one of {', '.join(KINDS)}")
    try:
        preprocessing = Preprocessing.from_dict(entries["preprocessing"])
    except MimprobeError as error:
        raise CardError(f"card {path}: {error}") from error
    architecture = entries["architecture"]
    return Card(
        name=entries["name"],
        title=entries["title"],
        kind=entries["kind"],
        source=entries["source"],
        licence=entries["licence"],
        paper=entries.get("paper", ""),
        weights=path.parent / entries["weights"]["file"],
        sha256=entries["weights"]["sha256"],
        architecture=architecture["name"],
        arguments=architecture.get("arguments", {}),
        heads=architecture["heads"],
        prefix_tokens=architecture["prefix_tokens"],
        preprocessing=preprocessing,
        training=entries.get("training", {}),
        results=tuple(entries.get("results", ())),
    )
