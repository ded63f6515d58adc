"""Stand-ins for the classes that training code leaves beside the tensors of a checkpoint.

`torch.load(weights_only=True)` refuses any class but tensors. The ones listed here are known to be
harmless, and are replaced by name, within one load only, by objects that hold nothing and do
nothing: the real class is never imported, whether it is installed or not.

What belongs here: which names are known, and what stands in for them. What does not: reading what
a pickle asks for (`pickle_plan`), and the files around it (`containers`).
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch

Kind = Literal["mapping", "list", "object"]

MAPPINGS: dict[str, str] = {
    "yacs.config": "CfgNode",
    "fvcore.common.config": "CfgNode",
    "detectron2.config.config": "CfgNode",
    "mmcv.utils.config": "ConfigDict",
    "mmengine.config.config": "ConfigDict",
    "addict": "Dict",
    "addict.addict": "Dict",
    "easydict": "EasyDict",
    "collections": "defaultdict",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "lightning.fabric.utilities.data": "AttributeDict",
}
"""Subclasses of dict. They become an OrderedDict: torch fills no other kind of mapping."""

LISTS: dict[str, str] = {"collections": "deque"}
"""What is filled as a list is; it becomes one."""

_PATHS = "Path PurePath PosixPath PurePosixPath WindowsPath PureWindowsPath"

OBJECTS: dict[str, str] = {
    "argparse": "Namespace",
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,  # as Python 3.13 writes them
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "uuid": "UUID",
    "typing": "Any List Dict Tuple Union Optional",
    "builtins": "int float str bool bytes list tuple dict object frozenset range slice getattr",
    "numpy": (
        "dtype ndarray bool_ bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 intc longlong "
        "float16 float32 float64 complex64 complex128 str_ bytes_ object_"
    ),
    "numpy.core.multiarray": "scalar _reconstruct",
    "numpy._core.multiarray": "scalar _reconstruct",
    "torch.torch_version": "TorchVersion",
    "mmcv.utils.config": "Config",
    "mmengine.config.config": "Config",
    "mmengine.logging.history_buffer": "HistoryBuffer",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.nodes": (
        "AnyNode StringNode IntegerNode FloatNode BooleanNode BytesNode PathNode EnumNode "
        "InterpolationResultNode"
    ),
}
"""What is called with arguments or given a state; it becomes an object that keeps neither."""

NUMPY_DTYPE = re.compile(r"numpy\.dtypes\.\w+DType")

GETATTR = "builtins.getattr"
"""Known, but only for the methods that mmengine's buffer lists: `pickle_plan` looks what for."""

_LABEL = "_mimprobe_stands_in_for"
_LOCK = threading.Lock()  # torch's list of safe names is one for the whole process


class _StandIn:
    """An object that takes whatever it is given, keeps nothing and does nothing."""

    __slots__ = ()
    told = "unknown"

    def __new__(cls, *_: Any) -> Any:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None: ...


def kind_of(name: str) -> Kind | None:
    """Tell what stands in for a class, by its full name; None where it is not known."""
    module, _, own = name.rpartition(".")
    if own in MAPPINGS.get(module, "").split():
        return "mapping"
    if own in LISTS.get(module, "").split():
        return "list"
    if own in OBJECTS.get(module, "").split() or NUMPY_DTYPE.fullmatch(name):
        return "object"
    return None


@cache
def stand_in(name: str) -> type:
    """Make the class that stands in for a known one."""
    body: dict[str, Any] = {"__slots__": (), "told": name}
    match kind_of(name):
        case None:
            raise ValueError(name)
        case "mapping":
            body["__new__"] = _labelled
        case "list":
            body["__new__"] = lambda *_: []
    return type("StandIn", (_StandIn,), body)


def _labelled(cls: type[_StandIn], *_: Any) -> OrderedDict[Any, Any]:
    made: OrderedDict[Any, Any] = OrderedDict()
    setattr(made, _LABEL, cls.told)
    return made


def stands_in_for(value: object) -> str | None:
    """Give the name of the class that a value stands in for, if it does."""
    if isinstance(value, type):
        return f"class {value.told}" if issubclass(value, _StandIn) else None
    if isinstance(value, _StandIn):
        return value.told
    label = getattr(value, _LABEL, None) if isinstance(value, OrderedDict) else None
    return label if isinstance(label, str) and kind_of(label) else None


@contextmanager
def only_known(names: Iterable[str]) -> Iterator[None]:
    """Let torch meet the stand-ins of these names, and nothing that somebody else allowed.

    A class that the user declared safe would else compete with its stand-in for the same name.
    The list is left exactly as it was found, however the load ends.
    """
    allowed: list[Any] = [(stand_in(name), name) for name in names]
    with _LOCK:
        found = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            with torch.serialization.safe_globals(allowed):
                yield
        finally:
            torch.serialization.add_safe_globals(found)
