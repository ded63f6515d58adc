"""The calls that the pickle of a checkpoint may make, and how large a result each may claim.

torch alone allows more, such as a bytearray of a terabyte, and its older releases read past the
end of a record.

What belongs here: the allowed calls, and the values that stand for their results. What does not:
the instructions of a pickle (`pickle_machine`), and which classes are known (`unpickle`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from mimprobe.errors import CheckpointError

WIDE = 1000
"""Values in one key of a mapping, counted through all its tuples: hashing it visits them all."""

HISTORY_BUFFER = "mmengine.logging.history_buffer.HistoryBuffer"

ITEM_SIZES = {
    "FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1,
    "BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1,
}  # fmt: skip
"""Bytes of one number, by torch's name for the memory that holds it."""

REBUILD = "torch._utils._rebuild_"

CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter")


@dataclass(slots=True, eq=False, repr=False)
class Value:
    """What stands for an object: its kind, its name where it has one, and what it holds.

    Attributes:
        kind: what may be done with it.
        name: of a class, or the key of a storage.
        items: of a tuple, list or set; the keys of a mapping; count and item size of a storage.
        width: how many values a tuple holds, counted through all tuples inside it.
    """

    kind: Literal["name", "tuple", "list", "mapping", "set", "object", "tensor", "storage"]
    name: str = ""
    items: Sequence[Any] = ()
    width: int = 1


def length(value: Any) -> int:
    """Give the bytes, about, that a copy of a value takes, without what it refers to."""
    if isinstance(value, Value):
        return 8 * len(value.items)
    return len(value) if isinstance(value, str) else 8


def is_native(name: str) -> bool:
    """Tell whether torch knows a name by itself, and checkpoints need it."""
    if name in CALLS or name in CLASSES or _item_size(name):
        return True
    module, _, own = name.rpartition(".")
    return module == "torch" and isinstance(vars(torch).get(own), torch.dtype)


def result_of(name: str, arguments: Sequence[Any]) -> Value:
    """Give what stands for the result of a call.

    Raises:
        CheckpointError: no checkpoint makes this call, or not with these arguments.
    """
    if name not in CALLS:
        raise CheckpointError(f"calls {name}, which no checkpoint needs, and was not loaded")
    try:
        return CALLS[name](*arguments)
    except TypeError as error:  # the number of arguments
        raise _unfit(name) from error


def storage_of(identity: Any) -> tuple[str, Value, Value]:
    """Give the key of a tensor's memory, that memory, and the part of it that is meant."""
    what, kind, key, place, count, *views = _items(identity, "tuple")
    size = _item_size(kind.name) if _is(kind, "name") else 0
    _need(what == "storage" and size > 0, "a storage")
    _need(isinstance(key, str) and isinstance(place, str) and _counts([count]), "a storage")
    whole = Value("storage", key, (count, size))
    if not views or views[0] is None:
        return key, whole, whole
    _, start, part = _items(views[0], "tuple")
    _need(_counts([start, part]) and start + part <= count, "a storage")
    return key, whole, Value("storage", key, (part, size))


def check_key(value: Any) -> None:
    """Refuse the key of a mapping that would take for ever to hash, or cannot be."""
    hashable = not isinstance(value, Value) or value.kind not in ("list", "mapping", "set")
    if not hashable or (isinstance(value, Value) and value.width > WIDE):
        raise CheckpointError("has a mapping whose keys are no plain values; no checkpoint has")


def _unfit(what: str) -> CheckpointError:
    return CheckpointError(f"asks for {what} with arguments that do not fit; download it again")


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise _unfit(what)


def _is(value: Any, *kinds: str) -> bool:
    return isinstance(value, Value) and value.kind in kinds


def _items(value: Any, *kinds: str) -> Sequence[Any]:
    _need(_is(value, *kinds), "a " + " or ".join(kinds))
    items: Sequence[Any] = value.items
    return items


def _counts(values: Sequence[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _item_size(name: str) -> int:
    module, _, own = name.rpartition(".")
    return ITEM_SIZES.get(own, 0) if module in ("torch", "torch.cuda", "torch.storage") else 0


def _ordered_dict(pairs: Any = None) -> Value:
    """Python 2 gave the pairs as an argument; later ones are set afterwards."""
    keys = [] if pairs is None else [_items(pair, "tuple", "list")[0] for pair in pairs.items]
    for key in keys:
        check_key(key)
    return Value("mapping", "collections.OrderedDict", keys)


def _counter(counts: Any) -> Value:
    return Value("mapping", "collections.Counter", list(_items(counts, "mapping")))


def _encoded(text: Any, encoding: Any) -> Value:
    """Bytes, as protocol 2 writes them; other encodings can make them longer and longer."""
    _need(isinstance(text, str) and encoding in ("latin1", "latin-1"), "_codecs.encode")
    return Value("object", "bytes")


def _bytearray(content: Any = "", encoding: Any = "latin-1") -> Value:
    """A number would be a length."""
    _need(isinstance(content, str) or _is(content, "object"), "a bytearray")
    _need(encoding in ("latin1", "latin-1"), "a bytearray")
    return Value("object", "bytearray")


def _set(members: Any) -> Value:
    for member in _items(members, "list"):
        check_key(member)
    return Value("set", items=members.items)


def _plain(*arguments: Any) -> Value:
    """A complex number, a device or a layout: small, whatever the arguments."""
    _need(all(isinstance(one, str | int | float) for one in arguments), "a plain value")
    return Value("object")


def _size(sizes: Any) -> Value:
    return Value("tuple", items=_items(sizes, "tuple"), width=len(sizes.items) + 1)


def _tensor(storage: Any, offset: Any, sizes: Any, strides: Any, *_: Any) -> Value:
    return _within(storage, offset, sizes, strides, 0)


def _typed_tensor(storage: Any, offset: Any, sizes: Any, strides: Any, *others: Any) -> Value:
    dtype = others[2]
    found = vars(torch).get(dtype.name.removeprefix("torch.")) if _is(dtype, "name") else None
    item = found.itemsize if isinstance(found, torch.dtype) else 0
    _need(item > 0, "a tensor")
    return _within(storage, offset, sizes, strides, item)


def _within(storage: Any, offset: Any, sizes: Any, strides: Any, item: int) -> Value:
    """Refuse a tensor that reaches beyond the memory it names; torch would read or grow it."""
    count, size = _items(storage, "storage")
    shape, steps = _items(sizes, "tuple"), _items(strides, "tuple")
    _need(_counts([offset, *shape, *steps]) and len(shape) == len(steps), "a tensor")
    last = sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if all(shape) and (offset + last + 1) * (item or size) > count * size:
        raise CheckpointError(
            f"claims a tensor of shape {tuple(shape)} that reaches beyond the memory the file has "
            "for it; download it again"
        )
    return Value("tensor")


def _parameter(data: Any, *_: Any) -> Value:
    _need(_is(data, "tensor"), "a parameter")
    return Value("tensor")


def _of_class(function: Any, kind: Any, arguments: Any, _: Any) -> Value:
    """A tensor with attributes."""
    _need(_is(function, "name") and function.name.startswith(REBUILD), "a tensor")
    _need(_is(kind, "name") and kind.name in CLASSES, "a tensor")
    return result_of(function.name, _items(arguments, "tuple"))


def _method(owner: Any, name: Any) -> Value:
    """Mmengine's buffer lists its own methods; `getattr` on anything else is an attack."""
    if not (_is(owner, "name") and owner.name == HISTORY_BUFFER and isinstance(name, str)):
        raise CheckpointError(
            "calls builtins.getattr, which no checkpoint needs, and was not loaded"
        )
    return Value("object")


CALLS: dict[str, Callable[..., Value]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "_codecs.encode": _encoded,
    "builtins.bytearray": _bytearray,
    "builtins.set": _set,
    "builtins.complex": _plain,
    "builtins.getattr": _method,
    "torch.device": _plain,
    "torch.serialization._get_layout": _plain,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_class,
}
