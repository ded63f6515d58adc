"""Weight files: tensors by name out of somebody's file, safely, or one line that says why not.

What belongs here: `WeightsFile`, and finding the state dict in what a file holds. What does not:
what else a file may be (`file_kind`), reading it (`containers`, `zipped`), and which network it
belongs to (`load`). Nothing is ever unpickled except by torch's `weights_only=True`, and that only
after `pickle_plan` has followed what the pickle would do.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from mimprobe.errors import CheckpointError
from mimprobe.zoo.containers import PICKLE, Content, read_old, read_safetensors
from mimprobe.zoo.file_kind import (
    HEAD,
    is_safetensors,
    reason,
    require_file,
    require_weights,
    unknown,
)
from mimprobe.zoo.unpickle import stands_in_for
from mimprobe.zoo.zipped import ZIP, read_zip

TOP_KEYS = ("state_dict", "model", "teacher")
"""Where training code puts the tensors inside a checkpoint, the first that is there."""

SHOWN = 6
"""Keys named in an error before it goes on with a count."""

LONGEST = 1000
"""Letters of an error; a file can have names of any length inside it."""

EXPANDED = 16
"""How many times the size of its file the tensors of a file may claim; views repeat numbers."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """Tensors by name, and everything else a file says about them.

    Attributes:
        path: of the file.
        tensors: below the top key, on the CPU. They may be views of the file: copy what is kept.
        top_key: `model`, `state_dict`, `teacher`, ...; empty for a flat file.
        beside: other entries at the top, with what they are, such as `{"epoch": "int 799"}`.
        metadata: what mimprobe's trainer wrote into a safetensors header; empty in other files.
        sha256: of the file.
        checked: how its content was checked; in some formats a flipped byte shows only in a sha256.
    """

    path: Path
    tensors: Mapping[str, Tensor] = field(repr=False)
    top_key: str
    beside: Mapping[str, str]
    metadata: Mapping[str, Any]
    sha256: str
    checked: str


def read_weights(path: Path, *, top_key: str | None = None) -> WeightsFile:
    """Read the tensors of a file.

    Args:
        path: a PyTorch or safetensors file, told apart by content, not by name.
        top_key: the entry that holds the tensors; None for the first of `TOP_KEYS` that does, else
            the file itself; empty for the file itself.

    Raises:
        CheckpointError: there is no such file or entry; or it is something else, damaged, unsafe,
            or claims more than it has. One line, with what to do.
    """
    try:
        content, sha256, size = _read(path)
        key, tensors = _state_dict(content.found, top_key)
        _require_real(tensors, size)
        beside = _beside(content.found, key) if key else {}
        metadata = _own_metadata(content)
    except OSError as error:
        raise CheckpointError(f"{_one_line(str(path))} {_one_line(reason(error))}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{_one_line(str(path))} {_one_line(str(error))}") from error
    return WeightsFile(path, tensors, key, beside, metadata, sha256, content.checked)


def file_sha256(path: Path) -> str:
    """Hash a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_sha256(module: nn.Module) -> str:
    """Hash a network's state, for networks that did not come from one file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def _read(path: Path) -> tuple[Content, str, int]:
    """Read a file that stays as it is meanwhile, its hash, and its size."""
    before = require_file(path)
    with path.open("rb") as file:
        content = _content(path, file, before.st_size)
    sha256 = file_sha256(path)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CheckpointError("changed while it was read; try again when it is complete")
    return content, sha256, before.st_size


def _content(path: Path, file: BinaryIO, size: int) -> Content:
    head = file.read(HEAD)
    # First of all: it begins with a length, whose bytes may look like the mark of anything.
    if is_safetensors(head, size):
        return read_safetensors(path, head, size)
    file.seek(max(size - 8, 0))
    require_weights(path, head, file.read(8))
    if path.suffix == ".safetensors" and head[8:9] == b"{":
        return read_safetensors(path, head, size)  # which says what is missing
    if head.startswith(ZIP):
        return read_zip(path, file, size)
    if head.startswith(PICKLE):
        return read_old(file, size)
    raise unknown(head)


def _state_dict(found: Any, top_key: str | None) -> tuple[str, dict[str, Tensor]]:
    """Find the state dict in what a file held."""
    if not isinstance(found, Mapping):
        raise CheckpointError(f"holds {_told(found)}, not tensors by name; save a state dict")
    if top_key is None:
        top_key = next((key for key in TOP_KEYS if _has_tensors(found.get(key))), "")
    inner: Any = found.get(top_key) if top_key else found
    if top_key and top_key not in found:
        raise CheckpointError(f"has no entry {top_key!r} at its top; it has {_listed(found)}")
    if not _has_tensors(inner):
        raise CheckpointError(_no_tensors(found, top_key))
    others = {key: value for key, value in inner.items() if not _is_named_tensor(key, value)}
    if others:
        raise CheckpointError(
            f"holds entries that are not tensors: {_listed(others)}; expected a state dict, or one "
            f"under {', '.join(map(repr, TOP_KEYS))}"
        )
    return top_key, {key: value.detach() for key, value in inner.items()}


def _no_tensors(found: Mapping[Any, Any], top_key: str) -> str:
    where = f"its entry {top_key!r} is {_told(found[top_key])}, and " if top_key else ""
    named = [repr(str(key)[:60]) for key, value in found.items() if _has_tensors(value)]
    hint = f"tensors lie under {', '.join(named[:SHOWN])}: name that top key" if named else ""
    return f"holds no tensors by name: {where}it has {_listed(found)}; " + (
        hint or "save a state dict"
    )


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def _is_named_tensor(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def _require_real(tensors: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that repeat few numbers so often that a copy would fill the memory."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > EXPANDED * size:
        raise CheckpointError(
            f"claims {claimed:,} bytes of tensors in a file of {size:,}; no checkpoint does"
        )


def _beside(found: Mapping[Any, Any], top_key: str) -> dict[str, str]:
    return {str(key): _told(value) for key, value in found.items() if key != top_key}


def _told(value: Any) -> str:
    """Say what a value is, in a few words."""
    stood_for = stands_in_for(value)
    if stood_for:
        return stood_for
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return f"tensor of {tuple(value.shape)}"
    if isinstance(value, bool | int | float):
        return f"{kind} {value!r}"[:60]
    if isinstance(value, str):
        return f"str {value[:50]!r}"
    if isinstance(value, Mapping | list | tuple | set):
        return f"{kind} of {len(value)}"
    return "None" if value is None else kind


def _listed(entries: Mapping[Any, Any]) -> str:
    shown = [f"{str(key)[:60]} ({_told(value)})" for key, value in list(entries.items())[:SHOWN]]
    rest = len(entries) - SHOWN
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "") or "nothing"


def _own_metadata(content: Content) -> dict[str, Any]:
    """Parse what mimprobe's trainer wrote."""
    text = content.metadata.get("mimprobe", "{}")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("has damaged mimprobe metadata; download it again") from error
    if not isinstance(metadata, dict):
        raise CheckpointError("has damaged mimprobe metadata; download it again")
    return metadata


def _one_line(text: str) -> str:
    """Keep a message on its line and short, whatever names a file has inside it."""
    text = text if len(text) <= LONGEST else text[:LONGEST] + " ..."
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
