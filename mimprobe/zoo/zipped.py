"""The zip that torch.save writes: whole, no larger than it is, and each byte checked.

What belongs here: what a zip says of itself, held against what is there. What does not: the other
containers (`containers`), and what the pickle inside may do (`pickle_plan`).
"""

import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from mimprobe.errors import CheckpointError
from mimprobe.zoo.containers import PICKLED, Content, first_line, require_room, run
from mimprobe.zoo.pickle_plan import Plan, read_plan

ZIP = b"PK\x03\x04"
BY_CRC = "CRC-32 of every tensor in the zip"
CRC_LEFT_OUT = "content not verifiable: this zip was saved without its checksums"
CHUNK = 1 << 20


def read_zip(path: Path, file: BinaryIO, size: int) -> Content:
    """Read what torch.save writes.

    Raises:
        CheckpointError: it is another zip, damaged, claims too much, or is unsafe.
    """
    entries = _entries(file, size)
    top = next(iter(entries), "").split("/")[0]
    _require_state_dict(entries, top)
    _require_plain(entries, size)
    places = {name: _place(file, entry) for name, entry in entries.items()}
    program = entries[f"{top}/data.pkl"]
    if program.file_size > PICKLED:
        raise CheckpointError(f"has a pickle of {program.file_size:,} bytes; no checkpoint has")
    file.seek(places[program.orig_filename])
    plan = _plan_if_whole(file.read(program.file_size), program)
    with_crc = any(entry.CRC for entry in entries.values())
    for name, entry in entries.items():
        if with_crc and _crc(file, places[name], entry.file_size) != entry.CRC:
            raise CheckpointError(f"is damaged: {name} fails its checksum; download it again")
    for key, (count, width) in plan.storages.items():
        record = entries.get(f"{top}/data/{key}")
        require_room(key, count * width, record.file_size if record else 0)
    return Content(_run_zip(path, file, plan), BY_CRC if with_crc else CRC_LEFT_OUT)


def _entries(file: BinaryIO, size: int) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
    except Exception as error:  # BadZipFile, and what damaged numbers lead to
        raise CheckpointError(
            f"is a truncated or damaged zip, not a whole PyTorch file ({first_line(error)}; it "
            f"has {size:,} bytes); download it again"
        ) from error
    if len({entry.orig_filename.casefold() for entry in listed}) < len(listed):
        raise CheckpointError("is a zip with two entries of one name, which torch.save never makes")
    return {entry.orig_filename: entry for entry in listed}


def _require_state_dict(names: Iterable[str], top: str) -> None:
    """Tell torch.save's zips from the others."""
    names = list(names)
    if f"{top}/constants.pkl" in names:
        raise CheckpointError(
            "is a TorchScript archive (a program with weights), not a state dict; on a machine "
            "where you trust it, save torch.jit.load(...).state_dict()"
        )
    if f"{top}/data.pkl" in names:
        return
    if names and all(name.endswith(".npy") for name in names):
        what = "a NumPy archive (.npz), not a PyTorch file; save its arrays as a state dict"
    elif {"metadata.json", "config.json"} <= set(names):
        what = "a Keras model, not a PyTorch file; convert it to a state dict first"
    else:
        shown = ", ".join(names[:3]) or "nothing"
        what = f"a zip archive of other things ({shown}), not a whole PyTorch file; unpack it"
    raise CheckpointError(f"is {what}")


def _require_plain(entries: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    """Refuse zip bombs; entries as torch.save writes them are as large as they say."""
    claimed = sum(entry.file_size for entry in entries.values())
    if claimed > size:
        raise CheckpointError(
            f"claims {claimed:,} bytes of content in a file of {size:,}: a zip bomb, or compressed "
            "as torch.save never does; get it from another place"
        )
    if any(entry.compress_type or entry.flag_bits & 1 for entry in entries.values()):
        raise CheckpointError(
            "is a compressed or encrypted zip, which torch.save never writes; unpack it, and zip "
            "it again without compression"
        )


def _place(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Find where the content of an entry begins."""
    file.seek(max(entry.header_offset, 0))
    header = file.read(30) if entry.header_offset >= 0 else b""
    name, extra = struct.unpack("<HH", header[26:30]) if len(header) == 30 else (0, 0)
    encoding = "utf-8" if entry.flag_bits & 0x800 else "cp437"
    if header[:4] != ZIP or file.read(name) != entry.orig_filename.encode(encoding):
        raise CheckpointError(
            f"is damaged: {entry.orig_filename} is not where its zip says; download it again"
        )
    return entry.header_offset + 30 + int(name) + int(extra)


def _plan_if_whole(program: bytes, entry: zipfile.ZipInfo) -> Plan:
    """Follow the pickle of a zip; where it cannot be, its checksum may say why."""
    if entry.CRC and zlib.crc32(program) != entry.CRC:
        raise CheckpointError("is damaged: data.pkl fails its checksum; download it again")
    return read_plan(program)


def _crc(file: BinaryIO, place: int, size: int) -> int:
    file.seek(place)
    value = 0
    while size > 0 and (part := file.read(min(size, CHUNK))):
        value = zlib.crc32(part, value)
        size -= len(part)
    return value


def _run_zip(path: Path, file: BinaryIO, plan: Plan) -> Any:
    """Let torch map the file where it can: then only what is used takes memory."""
    private = getattr(mmap, "MAP_PRIVATE", None)
    if path.suffix == ".safetensors" or torch.serialization.get_default_mmap_options() != private:
        file.seek(0)
        return run(file, plan, use_mmap=False)
    return run(str(path), plan, use_mmap=True)
