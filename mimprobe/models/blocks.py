"""Where the blocks of a network stand, and which of them can stand in for each other.

What belongs here: finding blocks, and what takes the place of a dropped one. What does not:
changing a network (`surgery`), and timm's classes (`timm_families`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from mimprobe.errors import OptionError, SiteError
from mimprobe.models.sites import Layout, Site, layout
from mimprobe.models.timm_families import ATTENDING


class Dropped(nn.Module):
    """Takes the place of a dropped block and hands on what it is given.

    Attributes:
        window_size: of the block that stood there; None where it attended to the whole map.
        shift_size: likewise.
    """

    def __init__(self, block: nn.Module) -> None:
        """Keep what decides with which blocks this place can exchange."""
        super().__init__()
        self.window_size: Any = getattr(block, "window_size", None)
        self.shift_size: Any = getattr(block, "shift_size", None)

    def forward(self, tokens: Tensor, *others: object, **named: object) -> Tensor:  # noqa: ARG002
        """Give the tokens; blocks are also given masks, rotations or shared biases."""
        return tokens


class Place(NamedTuple):
    """Where a block stands.

    Attributes:
        path: of the module in its network.
        block: that stands there.
        heads: that can be observed; 0 where none can.
        kin: blocks can stand in for each other where this is equal: in windowed networks the number
            of the stage and the shift of the windows, elsewhere nothing.
    """

    path: str
    block: nn.Module
    heads: int
    kin: tuple[int, ...]


def places(network: nn.Module) -> list[Place]:
    """List the blocks of a network in execution order.

    Raises:
        OptionError: it has no blocks that attend, or is none of timm's.
    """
    if not isinstance(network, ATTENDING):
        raise OptionError(_refusal(network))
    found = layout(network)
    paths = {id(part): path for path, part in network.named_modules()}
    heads = {
        site.layer: site.attention.heads for site in found.sites.values() if site.attention
    }  # fmt: skip
    return [
        Place(paths[id(site.block)], site.block, heads.get(site.layer, 0), _kin(found, site))
        for site in (found[name] for name in found.feature_sites)
    ]


def place(found: Sequence[Place], number: int) -> Place:
    """Give one place by its number.

    Raises:
        OptionError: there is none of that number.
    """
    if not 0 <= number < len(found):
        raise OptionError(
            f"there is no block {number}: this network has {len(found)} blocks, 0 to "
            f"{len(found) - 1}"
        )
    return found[number]


def present(found: Sequence[Place], number: int) -> Place:
    """Give one place by its number, at which a block must stand.

    Raises:
        OptionError: there is none of that number, or its block was dropped.
    """
    chosen = place(found, number)
    if isinstance(chosen.block, Dropped):
        raise OptionError(f"block {number} was dropped before; choose one that is still there")
    return chosen


def _kin(found: Layout, site: Site) -> tuple[int, ...]:
    if found.reading.window is None:
        return ()
    stage = int(site.name.split(".")[1])
    return (stage, *found.reading.window(site.block).shift)


def _refusal(network: nn.Module) -> str:
    """Say why a network has no blocks that can be changed, and which networks have."""
    name, possible = type(network).__name__, ", ".join(kind.__name__ for kind in ATTENDING)
    try:
        attends = bool(layout(network).attention_sites)
    except SiteError:
        reason = f"{name} is of no family whose blocks are known"
    else:
        reason = f"{name} has no attention blocks"
        if attends:
            reason = f"{type(network).__module__.partition('.')[0]}'s {name} is none of timm's"
    return (
        f"{reason}; blocks can be swapped, dropped, reset and transplanted, and heads masked, in "
        f"timm's {possible}"
    )
