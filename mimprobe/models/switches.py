"""Attributes of a network that have another value for a while.

What belongs here: changing one, and putting the very object back that was there. What does not:
which ones are changed (the families), and hooks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import nn

_ABSENT = object()


class Switch(NamedTuple):
    """An attribute of a module that has another value for the time of a context."""

    owner: nn.Module
    name: str
    value: object


@contextmanager
def switched(switch: Switch) -> Iterator[None]:
    """Set an attribute of a module, and put back the very object that was there, or nothing."""
    own = vars(switch.owner)
    before = own.get(switch.name, _ABSENT)
    try:
        setattr(switch.owner, switch.name, switch.value)
        yield
    finally:
        if before is _ABSENT:
            own.pop(switch.name, None)
        else:
            setattr(switch.owner, switch.name, before)
