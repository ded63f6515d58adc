"""Random orders of things that change places only within groups.

What belongs here: drawing an order. What does not: what is ordered (`surgery`).
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from mimprobe.errors import OptionError


def random_order(kin: Sequence[Hashable], k: int, seed: int) -> list[int]:
    """Draw an order in which `k` blocks stand at each other's places, and the others stay.

    Args:
        kin: of each block; blocks change places where it is equal.
        k: how many do, none of them staying.
        seed: of the draw.

    Raises:
        OptionError: so many cannot.
    """
    _check(kin, k)
    draw = np.random.default_rng(seed)
    chosen = _places(kin, k, draw)
    order = list(range(len(kin)))
    for group in dict.fromkeys(kin[place] for place in chosen):
        mine = [place for place in chosen if kin[place] == group]
        for place, block in zip(mine, _derangement(mine, draw), strict=True):
            order[place] = block
    return order


def possible_counts(kin: Sequence[Hashable]) -> list[int]:
    """List how many blocks can change places: of each group none, or two and more."""
    counts = {0}
    for size in Counter(kin).values():
        counts |= {count + more for count in counts for more in range(2, size + 1)}
    return sorted(counts)


def _check(kin: Sequence[Hashable], k: int) -> None:
    possible = possible_counts(kin)
    if k in possible:
        return
    if k > len(kin):
        why = f"this network has {len(kin)} blocks"
    elif k == 1:
        why = "one block alone has nowhere to go"
    else:
        why = "blocks change places only within one stage and one shift_size"
    near = min(possible, key=lambda count: (abs(count - k), -count))
    raise OptionError(
        f"{k} blocks cannot change places: {why}; the nearest number that can is {near}"
    )


def _places(kin: Sequence[Hashable], k: int, draw: np.random.Generator) -> list[int]:
    """Draw `k` places, none of them alone of its kind."""
    groups = Counter(kin)
    eligible = [place for place, group in enumerate(kin) if groups[group] > 1]
    while True:
        chosen = sorted(draw.choice(eligible, k, replace=False).tolist()) if k else []
        if 1 not in Counter(kin[place] for place in chosen).values():
            return chosen


def _derangement(places: list[int], draw: np.random.Generator) -> list[int]:
    """Draw an order in which none stays; a third of all orders are such."""
    while True:
        found: list[int] = draw.permutation(places).tolist()
        if all(block != place for block, place in zip(found, places, strict=True)):
            return found
