"""A card's weights: where they are, whether they are the right ones, and into the network.

What belongs here: everything that reads a card and a file together. What does not: the download
(`fetch`) and the file's format (`weights`).
"""

import hashlib
import shutil
from pathlib import Path

from torch import nn

from mimprobe.errors import CardError, CheckpointError, UnknownNameError
from mimprobe.models.sites import attention_heads, layout
from mimprobe.tables import write_atomically
from mimprobe.zoo.card import Card
from mimprobe.zoo.convert import CONVERTERS
from mimprobe.zoo.fetch import cache_directory, cached_file, fetch_file
from mimprobe.zoo.fill import Allowed, LoadReport, fill
from mimprobe.zoo.weights import WeightsFile, read_weights


def present_weights(card: Card) -> Path | None:
    """Find a card's weights beside the card or in the cache."""
    return card.bundled_weights or cached_file(card.weights.file)


def card_weights(card: Card, *, fetch_again: bool = False) -> Path:
    """Find a card's weights, and download them if they are not there.

    Raises:
        CheckpointError: they cannot be had.
    """
    present = present_weights(card)
    if present is not None and (not fetch_again or present == card.bundled_weights):
        return present
    if not card.weights.addresses:
        told = card.weights.remark or "the card knows no address"
        raise CheckpointError(
            f"the weights of {card.name} are not here: {told}; then put the file at "
            f"{cache_directory() / card.weights.file}, or give it with 'mimprobe models fetch "
            f"{card.name} --from FILE'"
        )
    return fetch_file(
        card.weights.file, card.weights.addresses, checksum=card.weights.checksum,
        fetch_again=fetch_again,
    )  # fmt: skip


def adopt_weights(card: Card, source: Path) -> Path:
    """Copy a file that the user has into the cache, if it is the one that the card describes.

    Raises:
        CheckpointError: it cannot be read, or is another file.
    """
    file = read_weights(source, top_key=card.weights.top_key)
    checked_against(card, file)
    target = cache_directory() / card.weights.file
    with source.open("rb") as content:
        write_atomically(target, lambda file: shutil.copyfileobj(content, file))
    return target


def check_card(card: Card, module: nn.Module) -> None:
    """Compare with the network what a file's shapes cannot tell: heads and prefix tokens.

    Raises:
        CheckpointError: the card says other numbers.
    """
    places = layout(module)
    by_layer = [attention_heads(places[name]) for name in places.attention_sites]
    heads = tuple(dict.fromkeys(by_layer)) or (0,)
    if heads != card.heads or places.prefix_tokens != card.prefix_tokens:
        raise CheckpointError(
            f"card {card.name!r} says {list(card.heads)} heads and {card.prefix_tokens} prefix "
            f"tokens; {card.architecture} has {list(heads)} and {places.prefix_tokens}"
        )


def fill_from_card(
    module: nn.Module, file: WeightsFile, card: Card, *, resize: bool = False
) -> LoadReport:
    """Check a file against its card and load it.

    Raises:
        CheckpointError: it is another file, or does not fit.
        CardError: the card names a converter that does not exist.
    """
    weights = card.weights
    if weights.converter not in CONVERTERS:
        error = UnknownNameError("converter", weights.converter, CONVERTERS)
        raise CardError(f"card {card.name!r}: {error}")
    return fill(
        module, CONVERTERS[weights.converter](file.tensors), f"{file.path} (card {card.name!r})",
        allowed=Allowed(weights.missing, weights.unexpected), converter=weights.converter,
        checked=checked_against(card, file), resize=resize,
    )  # fmt: skip


def checked_against(card: Card, file: WeightsFile) -> str:
    """Compare a file with the card's checksum and say how its content was checked.

    Raises:
        CheckpointError: it is another file than the card describes, or damaged.
    """
    algorithm, _, expected = card.weights.checksum.partition(":")
    if not expected:
        return file.checked
    found = file.sha256 if algorithm == "sha256" else _md5(file.path)
    if not found.startswith(expected):
        raise CheckpointError(
            f"{file.path} is not the file that card {card.name!r} describes, or is damaged "
            f"({algorithm} {found}, expected {expected}); {_advice(card, file.path)}"
        )
    whole = len(expected) == len(found)
    return f"{algorithm} as published" + ("" if whole else f" (its first {len(expected)} digits)")


def _advice(card: Card, path: Path) -> str:
    if path == card.bundled_weights:
        return "install mimprobe again"
    return f"'mimprobe models fetch {card.name} --again' replaces it"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
