"""The changed networks of each test.

What belongs here: which changes a test makes, and what each is called in the table. What does not:
how a change is made (`models.surgery`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from torch import nn

from mimprobe.models.blocks import places
from mimprobe.models.orders import possible_counts
from mimprobe.models.surgery import (
    depth,
    drop_block,
    drop_last,
    exchangeable_pairs,
    mask_heads,
    permute_blocks,
    permuted,
    reinitialise_block,
    swap_blocks,
)


class Point(NamedTuple):
    """What variants of several seeds have in common: a place in the table; see `Variant`."""

    changed: int
    layer: int | None = None
    other_layer: int | None = None
    head: int | None = None

    @property
    def on_curve(self) -> bool:
        """Tell whether it is a point of the curve, and not of a single block, head or pair."""
        return self.layer is None


@dataclass(frozen=True, eq=False)
class Variant:
    """A changed network.

    Attributes:
        module: the network.
        changed: blocks (or heads) that are others than in the intact network.
        first: the first place whose block is another; the depth where none is.
        layer: the block that was changed, in tests of single blocks, heads and exchanges.
        other_layer: the block that it was exchanged with.
        head: the head that was masked.
        seed: of the change; None where there is nothing random in it.
    """

    module: nn.Module
    changed: int
    first: int
    layer: int | None = None
    other_layer: int | None = None
    head: int | None = None
    seed: int | None = None

    @property
    def point(self) -> Point:
        """What variants of several seeds have in common."""
        return Point(self.changed, self.layer, self.other_layer, self.head)


def intact(module: nn.Module) -> Variant:
    """The network as it is, where all curves begin."""
    return Variant(module, 0, depth(module))


def curve_counts(test: str, module: nn.Module) -> list[int]:
    """List the numbers of changed blocks at which the curve of a test has points.

    Raises:
        OptionError: the network has no blocks that can be changed.
    """
    blocks = depth(module)
    if test == "swap":
        return possible_counts([place.kin for place in places(module)])
    return list(range({"drop": blocks, "reset": blocks + 1, "heads": 1}[test]))


def swaps(module: nn.Module, seeds: range) -> Iterator[Variant]:
    """Permutations of 2 and more blocks, by seed, and all exchanges of two blocks."""
    for count in curve_counts("swap", module)[1:]:
        for seed in seeds:
            order = permuted(module, count, seed)
            first = next((at for at, block in enumerate(order) if at != block), len(order))
            yield Variant(permute_blocks(module, count, seed), count, first, seed=seed)
    for one, other in exchangeable_pairs(module):
        yield Variant(swap_blocks(module, one, other), 2, one, layer=one, other_layer=other)


def drops(module: nn.Module, seeds: range) -> Iterator[Variant]:  # noqa: ARG001
    """The last 1, 2, ... blocks left out, and each block alone."""
    blocks = depth(module)
    for count in curve_counts("drop", module)[1:]:
        yield Variant(drop_last(module, count), count, blocks - count)
    for block in range(blocks):
        yield Variant(drop_block(module, block), 1, block, layer=block)


def resets(module: nn.Module, seeds: range) -> Iterator[Variant]:
    """The last 1, 2, ... blocks made anew, and each block alone, with the same fresh weights."""
    blocks = depth(module)
    for seed in seeds:
        changed = module
        for block in reversed(range(blocks)):
            drawn = seed * blocks + block  # so that no two blocks begin with the same weights
            changed = reinitialise_block(changed, block, drawn)
            yield Variant(changed, blocks - block, block, seed=seed)
            alone = reinitialise_block(module, block, drawn)
            yield Variant(alone, 1, block, layer=block, seed=seed)


def masked_heads(module: nn.Module, seeds: range) -> Iterator[Variant]:  # noqa: ARG001
    """Each head alone, masked."""
    for layer, place in enumerate(places(module)):
        for head in range(place.heads):
            yield Variant(mask_heads(module, {layer: [head]}), 1, layer, layer=layer, head=head)


TESTS: Mapping[str, Callable[[nn.Module, range], Iterator[Variant]]] = MappingProxyType(
    {"swap": swaps, "drop": drops, "reset": resets, "heads": masked_heads}
)
"""What each test makes of a network, besides leaving it as it is, with these seeds."""
