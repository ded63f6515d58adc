"""Weight files: tensors by name out of a file, safely, and into a network, whole.

What belongs here: reading `.safetensors` and `.pth`, and the report of a load. What does not: which
network a file belongs to (`load`). Nothing is ever unpickled except by `weights_only=True`.
"""

import hashlib
import html
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mimprobe.errors import CheckpointError

TOP_KEYS = ("state_dict", "model")
"""Where training code puts the tensors inside a checkpoint."""

NOT_VERIFIED = "content not verified: no sha256 is known for it"

SHOWN = 6
"""Keys named in an error before it goes on with a count."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a file.

    Attributes:
        matched: tensors that went into the network.
        dropped: keys left out on purpose, with the reason.
        verified: how the content was checked; a flipped byte shows only in a known sha256.
    """

    matched: int
    dropped: Mapping[str, str] = field(default_factory=dict)
    verified: str = NOT_VERIFIED

    def describe(self) -> dict[str, Any]:
        """Give the report as data for a manifest."""
        return {
            "matched": self.matched,
            "dropped": dict(self.dropped),
            "missing": [],
            "unexpected": [],
            "verified": self.verified,
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{html.escape(key)}</code></td><td>{html.escape(reason)}</td></tr>"
            for key, reason in self.dropped.items()
        )
        return (
            f"<p>{self.matched} tensors matched, {len(self.dropped)} dropped on purpose, none "
            f"missing; {html.escape(self.verified)}</p><table>{rows}</table>"
        )


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors by name, and the metadata that mimprobe's trainer writes (else empty).

    Raises:
        CheckpointError: no such file, damaged, or a pickle that asks for more than tensors.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise CheckpointError(f"weights file {path} {what}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"weights file {path} is empty")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path), {}


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


def fill(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> int:
    """Load all tensors into the network and count them.

    Raises:
        CheckpointError: a key is missing, unexpected, or has another shape; the network is
            unchanged then.
    """
    own = module.state_dict()
    problems = {
        "missing in the file": sorted(own.keys() - tensors.keys()),
        "unexpected in the file": sorted(tensors.keys() - own.keys()),
        "of another shape": [
            f"{key} {tuple(tensors[key].shape)} for {tuple(own[key].shape)}"
            for key in sorted(own.keys() & tensors.keys())
            if own[key].shape != tensors[key].shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(k)} {name}: {_some(k)}" for name, k in problems.items() if k)
        raise CheckpointError(
            f"{what} does not fit the architecture, nothing was loaded: {told}; name another arch"
        )
    module.load_state_dict(dict(tensors))
    return len(tensors)


def _some(keys: list[str]) -> str:
    rest = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("mimprobe", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({_first_line(error)}); download it again"
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # about pickle protocols: what it cannot read, it refuses
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors or is damaged, and was not loaded, because a pickle "
            f"can run code ({_refused(error)}); save its state_dict as safetensors on a machine "
            "where you trust it"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a whole PyTorch file ({_first_line(error)}); download it again"
        ) from error
    for key in TOP_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not tensors by name")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(
            f"{path} holds entries that are not tensors: {_some(others)}; expected a state dict, "
            f"or one under {' or '.join(map(repr, TOP_KEYS))}"
        )
    return dict(content)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _refused(error: pickle.UnpicklingError) -> str:
    """Keep of torch's long advice the one sentence that names the class."""
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.strip().removeprefix("WeightsUnpickler error: ").split(" was not")[0]
    return "unreadable pickle"
