"""Where cards lie, and how one is found by its name.

The cards and small weights of our own stand in `pretrained/`, at the top of a checkout and inside
the package of an installed wheel. Folders of the user's own, named in the environment variable
MIMPROBE_CARDS, are searched before it.
"""

import os
from pathlib import Path

from mimprobe.errors import CardError, UnknownNameError
from mimprobe.zoo.card import Card, read_card

CARDS_VARIABLE = "MIMPROBE_CARDS"
"""Environment variable with folders of cards, separated as in PATH."""


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


def card_folders() -> tuple[Path, ...]:
    """List the folders of cards: the user's own first, then the bundled ones.

    Raises:
        CardError: a folder of the environment variable is not there.
    """
    own = [Path(text) for text in os.environ.get(CARDS_VARIABLE, "").split(os.pathsep) if text]
    for folder in own:
        if not folder.is_dir():
            raise CardError(f"no folder of cards at {folder} (--cards, or {CARDS_VARIABLE})")
    return (*own, bundled_directory())


def card_names() -> tuple[str, ...]:
    """List all cards by name."""
    return tuple(sorted(_paths()))


def find_card(name: str) -> Card:
    """Read the card of that name; a user's own goes before a bundled one.

    Raises:
        UnknownNameError: there is none.
        CardError: it is damaged.
    """
    paths = _paths()
    if name not in paths:
        raise UnknownNameError("card", name, paths, hint="see 'mimprobe models list'")
    return read_card(paths[name])


def _paths() -> dict[str, Path]:
    """Find the file of each card."""
    found: dict[str, Path] = {}
    for folder in card_folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found
