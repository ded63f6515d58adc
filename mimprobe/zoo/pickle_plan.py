"""What a pickle would do, found out without doing any of it.

A pickle is a small program. Before torch runs one, it is followed with values that only stand for
objects: which classes it asks for, how much memory its tensors claim, what it calls. Only what the
checkpoints of training code do is allowed; torch's own safe loading allows more.

What belongs here: the verdict on a pickle. What does not: its instructions (`pickle_machine`), and
where a pickle lies in its file (`containers`).
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mimprobe.errors import CheckpointError
from mimprobe.zoo.pickle_machine import Machine


@dataclass(frozen=True)
class Plan:
    """What a pickle would do.

    Attributes:
        names: the known classes it asks for, which need a stand-in.
        storages: the memory its tensors claim, by key: numbers, and bytes of one.
        result: what it would leave: a plain value, or a `pickle_calls.Value`.
        end: where in the data it stops.
    """

    names: tuple[str, ...]
    storages: Mapping[str, tuple[int, int]]
    result: Any
    end: int


def read_plan(data: bytes, start: int = 0) -> Plan:
    """Follow a pickle.

    Raises:
        CheckpointError: it asks for a class that is not known as harmless, does what no checkpoint
            does, or is damaged.
    """
    machine = Machine(data, start)
    fault: CheckpointError | None = None
    result = None
    try:
        result = machine.run()
    except CheckpointError as error:
        fault = error
    except (LookupError, EOFError, ValueError, TypeError, AttributeError, struct.error):
        fault = CheckpointError("is damaged: its pickle cannot be followed; download it again")
    if machine.unknown:  # the reason for most other faults, and the one to know of
        raise _refusal(machine.unknown)
    if fault is not None:
        raise fault
    return Plan(tuple(machine.known), machine.storages, result, machine.at)


def _refusal(unknown: Iterable[str]) -> CheckpointError:
    first, *rest = unknown
    named = f"{first} and {len(rest)} more" if rest else first
    why = "and was not loaded, because a pickle can run code; on a machine where you trust it, save"
    if any(name.startswith("torch.nn.") for name in (first, *rest)):
        return CheckpointError(
            f"is a whole pickled network ({named}), not its tensors, {why} its state_dict()"
        )
    return CheckpointError(f"asks for {named}, {why} its state_dict() alone")
