"""Two containers that tensors come in: torch's older format, and safetensors.

What belongs here: making sure that a container is whole and claims no more than it has, and only
then letting torch or safetensors read it. What does not: torch's zip (`zipped`), what lies in a
container (`weights`), and what the pickle inside may do (`pickle_plan`).
"""

import json
import pickle
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch

from mimprobe.errors import CheckpointError
from mimprobe.zoo.pickle_calls import Value
from mimprobe.zoo.pickle_plan import Plan, read_plan
from mimprobe.zoo.unpickle import only_known

NO_CHECKSUM = "content not verifiable: no checksum inside this format"

PICKLE = b"\x80"
OLD_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)  # how torch.save began until release 1.6
OLD_VERSION = 1001

PICKLED = 64 << 20
"""Bytes that the pickle of a checkpoint may have, all else being tensors."""

JSON_HEADER = 16 << 20


@dataclass(frozen=True)
class Content:
    """What a container held, and how that was checked.

    Attributes:
        found: whatever was saved; a mapping in a state dict.
        checked: a checksum inside the file, or that there is none.
        metadata: the strings in the header of a safetensors file.
    """

    found: Any
    checked: str = NO_CHECKSUM
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_old(file: BinaryIO, size: int) -> Content:
    """Read what torch.save wrote before it wrote zips: pickles, then the tensors' memory.

    Raises:
        CheckpointError: it is another pickle, damaged, claims too much, or is unsafe.
    """
    plan = _old_plan(file, size)
    file.seek(0)
    return Content(run(file, plan, use_mmap=False))


def _old_plan(file: BinaryIO, size: int) -> Plan:
    """Follow all pickles of a file in torch's older format, and its memory to the end."""
    file.seek(0)
    data = file.read(PICKLED)
    if not data.startswith(OLD_MAGIC):
        read_plan(data)
        raise CheckpointError(
            "is a plain pickle, not a file of torch.save; read it where you trust it, and save its "
            "tensors as safetensors"
        )
    version = read_plan(data, len(OLD_MAGIC))
    if version.result != OLD_VERSION:
        raise CheckpointError("is damaged: the version of its format is unknown; download it again")
    plan = read_plan(data, read_plan(data, version.end).end)
    keys = read_plan(data, plan.end)
    _walk(file, size, plan.storages, keys)
    return plan


def read_safetensors(path: Path, head: bytes, size: int) -> Content:
    """Read a safetensors file.

    Raises:
        CheckpointError: it is damaged, or claims more than it has.
    """
    length: int = struct.unpack("<Q", head[:8])[0]
    if length > size - 8:
        raise CheckpointError(
            f"is not a whole safetensors file: its header claims {length:,} bytes, the file has "
            f"{size:,}; download it again"
        )
    _require_length(path, length, size)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return Content(found, metadata=file.metadata() or {})
    except Exception as error:  # its own, and torch's for a kind of number that it lacks
        raise CheckpointError(
            f"is not a whole safetensors file ({first_line(error)}); download it again"
        ) from error


def require_room(key: str, claimed: int, there: int) -> None:
    """Refuse tensors that claim more memory than the file has for them."""
    if claimed > there:
        raise CheckpointError(
            f"claims {claimed:,} bytes for the tensor memory {key!r} and has {there:,}; download "
            "it again"
        )


def _walk(file: BinaryIO, size: int, storages: Mapping[str, Sequence[int]], keys: Plan) -> None:
    """Follow the tensors' memory from one to the next to the end of the file."""
    is_list = isinstance(keys.result, Value) and keys.result.kind == "list"
    listed = keys.result.items if is_list else []
    named = [key for key in listed if isinstance(key, str)]
    if len(named) < len(listed) or sorted(named) != sorted(storages):
        raise CheckpointError("is damaged: it lists other tensors than it has; download it again")
    place = keys.end
    for key in named:
        count, width = storages[key]
        require_room(key, count * width, max(size - place - 8, 0))
        file.seek(place)
        if file.read(8) != struct.pack("<q", count):
            raise CheckpointError(
                f"is damaged: the tensor memory {key!r} has another size than said; download it "
                "again"
            )
        place += 8 + count * width
    if place != size:
        raise CheckpointError(
            f"has {size - place:,} bytes beyond its last tensor: damaged; download it again"
        )


def run(file: BinaryIO | str, plan: Plan, *, use_mmap: bool) -> Any:
    """Let torch do what was planned, with stand-ins for the known classes.

    Raises:
        CheckpointError: it fails nevertheless.
    """
    try:
        with warnings.catch_warnings(), only_known(plan.names):
            warnings.simplefilter("ignore")  # about protocols: what it cannot read, it refuses
            return torch.load(file, map_location="cpu", weights_only=True, mmap=use_mmap)
    except pickle.UnpicklingError as error:  # its own words recommend to switch safety off
        raise CheckpointError("was refused by torch's safe loading; download it again") from error
    except Exception as error:  # of every kind, from torch's own reading of damaged files
        raise CheckpointError(
            "is not a whole PyTorch file, or needs another release of torch "
            f"({first_line(error)}); download it again"
        ) from error


def _require_length(path: Path, length: int, size: int) -> None:
    """Say so where a header lists more tensors than the file has; leave the rest to the library."""
    if length > JSON_HEADER:
        return
    with path.open("rb") as file:
        header = file.read(8 + length)[8:]
    try:
        listed = json.loads(header)
        ends = [one["data_offsets"][1] for key, one in listed.items() if key != "__metadata__"]
        claimed = max(map(int, ends), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    if claimed > size - 8 - length:
        raise CheckpointError(
            f"is not a whole safetensors file: its header lists {claimed:,} bytes of tensors, the "
            f"file has {size - 8 - length:,}; download it again"
        )


def first_line(error: BaseException) -> str:
    """Keep what fits into a line of our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
