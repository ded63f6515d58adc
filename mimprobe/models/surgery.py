"""Changed copies of networks: blocks swapped, dropped, reset, transplanted, and heads masked.

What belongs here: functions from a network to a changed copy. Tensors of untouched parts are shared
with the original, which is left bit for bit as it was: to train a copy, copy its tensors first.
What does not: where blocks stand (`blocks`) and what a copy shares (`copies`).

Blocks are counted from 0 in execution order over the whole network. What a place is given besides
tokens stays with the place (rotations, shared biases), and so do down-sampling and norms between
and after the blocks. A block that moves takes everything along that it owns.

All public sites of features keep their names and layers: behind a dropped block stand the features
of the one before it. Its attention is no site any more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import torch
from torch import nn

from mimprobe.errors import OptionError
from mimprobe.models.blocks import Dropped, Place, place, places, present
from mimprobe.models.copies import fresh_block, shared_copy
from mimprobe.models.head_masks import masks_of, silence
from mimprobe.models.orders import random_order


def depth(model: nn.Module) -> int:
    """Count the blocks of a network, with those that were dropped.

    Raises:
        OptionError: it has none that can be changed.
    """
    return len(places(model))


def exchangeable_pairs(model: nn.Module) -> list[tuple[int, int]]:
    """List the pairs of blocks, first the earlier one, that can change places.

    In plain networks all pairs; in windowed ones those of one stage and one `shift_size`.

    Raises:
        OptionError: the network has no blocks that can be changed.
    """
    kin = [one.kin for one in places(model)]
    return [(i, j) for i, j in combinations(range(len(kin)), 2) if kin[i] == kin[j]]


def swap_blocks(model: nn.Module, i: int, j: int) -> nn.Module:
    """Let two blocks change places.

    Raises:
        OptionError: no such block, or they cannot change places.
    """
    found = places(model)
    _check_exchange(found, i, j)
    order = list(range(len(found)))
    order[i], order[j] = j, i
    return _ordered(model, order)


def permute_blocks(model: nn.Module, k: int, seed: int) -> nn.Module:
    """Let `k` blocks change places at random, none of them staying: `permuted` tells the order.

    Raises:
        OptionError: so many blocks cannot change places.
    """
    return _ordered(model, permuted(model, k, seed))


def permuted(model: nn.Module, k: int, seed: int) -> list[int]:
    """Draw the order of `permute_blocks`: at place i stands block order[i] of the original.

    All sets of `k` places at which no block need stay, and all ways in which none stays, are
    equally likely. In windowed networks blocks change places within their stage and `shift_size`.

    Args:
        model: a network.
        k: how many blocks change places; 0 changes nothing.
        seed: of the draw.

    Raises:
        OptionError: so many blocks cannot change places.
    """
    return random_order([one.kin for one in places(model)], k, seed)


def drop_last(model: nn.Module, k: int) -> nn.Module:
    """Make the last `k` blocks the identity; down-sampling and the final norm stay.

    Raises:
        OptionError: no block would be left, or `k` is negative.
    """
    count = depth(model)
    if not 0 <= k < count:
        raise OptionError(
            f"the last {k} blocks cannot be dropped: this network has {count} blocks, so that 0 to "
            f"{count - 1} can"
        )
    return _dropped(model, range(count - k, count))


def drop_block(model: nn.Module, i: int) -> nn.Module:
    """Make one block the identity.

    Raises:
        OptionError: no such block.
    """
    return _dropped(model, [i])


def reinitialise_block(model: nn.Module, i: int, seed: int) -> nn.Module:
    """Give one block fresh weights, drawn as timm draws those of a new network.

    Raises:
        OptionError: no such block.
    """
    chosen = present(places(model), i)
    return _replaced(model, {i: lambda _: fresh_block(model, chosen.path, seed)})


def transplant_block(model: nn.Module, donor: nn.Module, i: int) -> nn.Module:
    """Put the block of another network in the place of the same number; its tensors are shared.

    Raises:
        OptionError: no such block, or those of the two networks are not of the same build.
    """
    own, other = present(places(model), i), present(places(donor), i)
    difference = _difference(own, other)
    if difference:
        raise OptionError(f"block {i} of the donor does not fit: {difference}")
    organ = shared_copy(donor).get_submodule(other.path)
    return _replaced(model, {i: lambda block: organ.train(block.training)})


def mask_heads(model: nn.Module, heads: Mapping[int, Iterable[int]]) -> nn.Module:
    """Make the output of some heads zero, before they are normed and projected together.

    Args:
        model: a network.
        heads: numbers of heads by the number of their block.

    Raises:
        OptionError: no such block or head, or heads that cannot be told apart.
    """
    changed = shared_copy(model)
    found = places(changed)
    for layer, chosen in heads.items():
        silence(present(found, layer), layer, chosen)
    return changed


def with_gaps_of(model: nn.Module, changed: nn.Module) -> nn.Module:
    """Drop the blocks and mask the heads that are so in another network of the same build."""
    copy = shared_copy(model)
    for path, part in changed.named_modules():
        if isinstance(part, Dropped):
            copy.set_submodule(path, Dropped(copy.get_submodule(path)))
        for mask in masks_of(part):
            copy.get_submodule(path).register_forward_pre_hook(mask)
    return copy


def has_gaps(model: nn.Module) -> bool:
    """Tell whether any block of a network was dropped, or any head masked."""
    return any(isinstance(part, Dropped) or masks_of(part) for part in model.modules())


def _check_exchange(found: Sequence[Place], i: int, j: int) -> None:
    one, other = place(found, i), place(found, j)
    if i == j:
        raise OptionError(f"block {i} cannot change places with itself; name two blocks")
    if one.kin != other.kin:
        raise OptionError(
            f"blocks {i} and {j} cannot change places: block {i} is of {_told(one)}, block {j} of "
            f"{_told(other)}; only blocks of one stage and one shift_size can, {_example(found, i)}"
        )


def _told(one: Place) -> str:
    stage, *shift = one.kin
    return f"stage {stage} with shift_size {tuple(shift)}"


def _example(found: Sequence[Place], i: int) -> str:
    kin = [j for j, other in enumerate(found) if other.kin == found[i].kin and j != i]
    return f"such as {i} and {kin[0]}" if kin else f"and block {i} is the only one of its kind"


def _ordered(model: nn.Module, order: Sequence[int]) -> nn.Module:
    copy = shared_copy(model)
    blocks = places(copy)
    for at, block in enumerate(order):
        copy.set_submodule(blocks[at].path, blocks[block].block)
    return copy


def _dropped(model: nn.Module, numbers: Iterable[int]) -> nn.Module:
    return _replaced(model, dict.fromkeys(numbers, Dropped))


def _replaced(
    model: nn.Module, blocks: Mapping[int, Callable[[nn.Module], nn.Module]]
) -> nn.Module:
    """Put something in the places of some blocks, made from the block that stands there."""
    copy = shared_copy(model)
    found = places(copy)
    for number, made in blocks.items():
        chosen = place(found, number)
        copy.set_submodule(chosen.path, made(chosen.block))
    return copy


def _difference(own: Place, other: Place) -> str:
    """Name the first difference in the build of two blocks; empty if there is none."""
    if type(own.block) is not type(other.block):
        return f"it is a {_class_told(other.block)}, not a {_class_told(own.block)}"
    shapes, donated = _shapes(own.block), _shapes(other.block)
    for name in dict.fromkeys((*shapes, *donated)):
        if shapes.get(name) != donated.get(name):
            return (
                f"its {name} is {_shape_told(donated.get(name))}, not "
                f"{_shape_told(shapes.get(name))}"
            )
    if own.heads != other.heads:
        return f"it has {other.heads} heads, not {own.heads}"
    if own.kin != other.kin:
        return f"it is of {_told(other)}, not of {_told(own)}"
    return ""


def _class_told(block: nn.Module) -> str:
    return f"{type(block).__module__}.{type(block).__name__}"


def _shapes(block: nn.Module) -> dict[str, torch.Size]:
    tensors = (*block.named_parameters(), *block.named_buffers())
    return {name: tensor.shape for name, tensor in tensors}


def _shape_told(shape: torch.Size | None) -> str:
    return "missing" if shape is None else f"of shape {tuple(shape)}"
