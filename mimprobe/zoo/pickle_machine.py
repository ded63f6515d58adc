"""The instructions of a pickle, followed with values that only stand for objects.

What belongs here: the instructions that torch's safe unpickler has, and the stack they work on.
What does not: the allowed calls (`pickle_calls`), and the verdict on a pickle (`pickle_plan`).
"""

import pickle
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from functools import partial
from typing import Any

from mimprobe.errors import CheckpointError
from mimprobe.zoo.pickle_calls import (
    WIDE,
    Value,
    check_key,
    is_native,
    length,
    result_of,
    storage_of,
)
from mimprobe.zoo.unpickle import GETATTR, kind_of

STEPS = 2_000_000
"""Instructions of one pickle; a checkpoint with its optimizer has some ten thousand."""

COPIED = 64 << 20
"""Bytes that the calls of one pickle may copy; a few instructions could else ask for terabytes."""

NAME = 512
"""Bytes in the name of a class."""


class Machine:
    """The state that the instructions work on.

    Attributes:
        data: what holds the pickle.
        at: the place of the next instruction.
        storages: the memory its tensors claim, by key: numbers, and bytes of one.
        known: names it asks for that have a stand-in, in order.
        unknown: other names that torch does not bring either.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at, self.copied = data, start, 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[int, int]] = {}
        self.known: dict[str, None] = {}
        self.unknown: dict[str, None] = {}

    def run(self) -> Any:
        """Follow the pickle to its end and give what stands for the result."""
        for _ in range(STEPS):
            code = self.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in ACTIONS:
                raise CheckpointError(
                    f"uses the pickle instruction {code!r}, which safe loading does not have; save "
                    "it again with torch.save and its usual pickle protocol"
                )
            ACTIONS[code](self)
        raise CheckpointError(f"has more than {STEPS} pickle instructions; no checkpoint has")

    def read(self, count: int) -> bytes:
        """Take the next bytes."""
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise EOFError
        self.at += count
        return part

    def number(self, layout: str) -> Any:
        """Take the next number."""
        return struct.unpack(layout, self.read(struct.calcsize(layout)))[0]

    def line(self) -> str:
        """Take a line, one half of a name."""
        end = self.data.index(b"\n", self.at, self.at + NAME)
        line = self.data[self.at : end].decode()
        self.at = end + 1
        return line

    def popped(self, count: int | None) -> list[Any]:
        """Take that many values off the stack; None for all above the mark."""
        if count is None:
            items, self.stack = self.stack, self.below.pop()
            return items
        if len(self.stack) < count:
            raise LookupError
        place = len(self.stack) - count
        items, self.stack[place:] = self.stack[place:], []
        return items

    def spend(self, *values: Any) -> None:
        """Count what a call copies."""
        self.copied += sum(map(length, values))
        if self.copied > COPIED:
            raise CheckpointError("would fill the memory with copies; no checkpoint does")


def _constant(value: Any, machine: Machine) -> None:
    machine.stack.append(value)


def _new(kind: Any, machine: Machine) -> None:
    machine.stack.append(Value(kind, items=[]))


def _number(layout: str, machine: Machine) -> None:
    machine.stack.append(machine.number(layout))


def _text(layout: str, machine: Machine) -> None:
    machine.stack.append(str(machine.read(machine.number(layout)), "utf-8", "surrogatepass"))


def _long(machine: Machine) -> None:
    machine.stack.append(pickle.decode_long(machine.read(machine.number("<B"))))


def _protocol(machine: Machine) -> None:
    machine.read(1)


def _mark(machine: Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _tuple(count: int | None, machine: Machine) -> None:
    items = machine.popped(count)
    width = 1 + sum(item.width if isinstance(item, Value) else 1 for item in items)
    machine.stack.append(Value("tuple", items=items, width=min(width, WIDE + 1)))


def _get(layout: str, machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.number(layout)])


def _put(layout: str, machine: Machine) -> None:
    machine.memo[machine.number(layout)] = machine.stack[-1]


def _append(count: int | None, machine: Machine) -> None:
    items = machine.popped(count)
    _target(machine, "list").extend(items)


def _set_items(count: int | None, machine: Machine) -> None:
    items = machine.popped(count)
    if len(items) % 2:
        raise LookupError
    keys = items[::2]
    for key in keys:
        check_key(key)
    _target(machine, "mapping").extend(keys)


def _target(machine: Machine, kind: str) -> list[Any]:
    target = machine.stack[-1]
    if isinstance(target, Value) and target.name in machine.unknown:
        return []
    if not isinstance(target, Value) or target.kind != kind or not isinstance(target.items, list):
        raise CheckpointError(f"fills something that is no {kind}; no checkpoint does")
    return target.items


def _global(machine: Machine) -> None:
    module, own = machine.line(), machine.line()
    here = (IMPORT_MAPPING.get(module, module), own)  # what Python 2 and protocol 2 call it
    name = ".".join(NAME_MAPPING.get((module, own), here))
    if kind_of(name):
        machine.known[name] = None
    elif not is_native(name):
        machine.unknown[name] = None
    machine.stack.append(Value("name", name))


def _call(machine: Machine) -> None:
    function, arguments = machine.popped(2)
    if not isinstance(function, Value) or function.kind != "name" or arguments.kind != "tuple":
        raise CheckpointError("calls what is no class, and was not loaded; no checkpoint does")
    kind = kind_of(function.name)
    if function.name in machine.unknown or (kind and function.name != GETATTR):
        machine.stack.append(Value(kind or "object", function.name, items=[]))
        return
    machine.spend(*arguments.items)
    machine.stack.append(result_of(function.name, arguments.items))


def _build(machine: Machine) -> None:
    (state,) = machine.popped(1)
    target = machine.stack[-1]
    if not isinstance(target, Value) or target.name in machine.unknown or target.kind == "object":
        return
    machine.spend(state)
    if target.kind != "mapping" or not target.name or state.kind != "mapping":
        raise CheckpointError(f"gives a state to a {target.kind}; no checkpoint does")


def _storage(machine: Machine) -> None:
    key, whole, part = storage_of(*machine.popped(1))
    count, size = whole.items
    if machine.storages.setdefault(key, (count, size)) != (count, size):
        raise CheckpointError(f"claims two sizes for the tensor memory {key!r}; download it again")
    machine.stack.append(part)


ACTIONS: dict[bytes, Callable[[Machine], None]] = {
    pickle.PROTO: _protocol,
    pickle.GLOBAL: _global,
    pickle.REDUCE: _call,
    pickle.NEWOBJ: _call,
    pickle.BUILD: _build,
    pickle.BINPERSID: _storage,
    pickle.MARK: _mark,
    pickle.APPEND: partial(_append, 1),
    pickle.APPENDS: partial(_append, None),
    pickle.SETITEM: partial(_set_items, 2),
    pickle.SETITEMS: partial(_set_items, None),
    pickle.EMPTY_LIST: partial(_new, "list"),
    pickle.EMPTY_DICT: partial(_new, "mapping"),
    pickle.EMPTY_SET: partial(_new, "set"),
    pickle.EMPTY_TUPLE: partial(_tuple, 0),
    pickle.TUPLE1: partial(_tuple, 1),
    pickle.TUPLE2: partial(_tuple, 2),
    pickle.TUPLE3: partial(_tuple, 3),
    pickle.TUPLE: partial(_tuple, None),
    pickle.NONE: partial(_constant, None),
    pickle.NEWTRUE: partial(_constant, True),
    pickle.NEWFALSE: partial(_constant, False),
    pickle.BININT: partial(_number, "<i"),
    pickle.BININT1: partial(_number, "<B"),
    pickle.BININT2: partial(_number, "<H"),
    pickle.BINFLOAT: partial(_number, ">d"),
    pickle.LONG1: _long,
    pickle.BINUNICODE: partial(_text, "<I"),
    pickle.SHORT_BINSTRING: partial(_text, "<B"),
    pickle.BINGET: partial(_get, "<B"),
    pickle.LONG_BINGET: partial(_get, "<I"),
    pickle.BINPUT: partial(_put, "<B"),
    pickle.LONG_BINPUT: partial(_put, "<I"),
}
"""What torch's safe unpickler can do; newer protocols have instructions that it lacks."""
