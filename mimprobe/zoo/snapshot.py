"""The files of a checkpoint of transformers, in a folder or on the hub, and only the harmless ones.

What belongs here: fetching them, and which of them are weights. Nothing that could run code is
fetched or named: safetensors, and JSON. What does not: what is in them (`huggingface`).
"""

import importlib
import json
import re
from pathlib import Path

from mimprobe.errors import CheckpointError

FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
"""Files that are fetched from the hub."""


def checkpoint_folder(name: str) -> Path:
    """Find a checkpoint's folder; from the hub, bring its files into the hub's cache.

    Raises:
        CheckpointError: it is neither a folder nor OWNER/NAME, or cannot be had.
    """
    if Path(name).is_dir():
        return Path(name)
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or Path(name).exists():
        raise CheckpointError(
            "a checkpoint of transformers is a folder, or OWNER/NAME on the hub, which "
            f"{name!r} is not"
        )
    try:
        hub = importlib.import_module("huggingface_hub")
        found = hub.snapshot_download(repository, revision=revision or None, allow_patterns=FILES)
    except Exception as error:  # the hub's client and the network each have their own
        raise CheckpointError(
            f"{name} is no folder here, and could not be had from the Hugging Face hub "
            f"({first_line(error)}); see whether that is its OWNER/NAME, whether it asks for a "
            "login (hf auth login), and the network"
        ) from error
    return Path(found)


def safetensors_in(folder: Path, name: str) -> tuple[Path, ...]:
    """List the weights, as transformers will choose them: one file, or an index and its shards.

    Raises:
        CheckpointError: there are none, or the index names others.
    """
    if (folder / "model.safetensors").is_file():
        return (folder / "model.safetensors",)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _shards(index, name)
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        raise CheckpointError(
            f"{name} has its weights only in {pickles[0]}, a pickle, which can run code and was "
            "not read; where you trust it, load it with transformers and save_pretrained() it, "
            "which writes model.safetensors"
        )
    raise CheckpointError(f"{name} has no model.safetensors, and mimprobe reads no other weights")


def _shards(index: Path, name: str) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        paths = tuple(index.parent / shard for shard in names)
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index.name} of {name} is damaged: {first_line(error)}") from error
    for path in paths:
        if path.parent != index.parent or path.suffix != ".safetensors" or not path.is_file():
            raise CheckpointError(
                f"{index.name} of {name} names {path.name}, but there is no such safetensors file "
                "beside it"
            )
    return paths


def first_line(error: BaseException) -> str:
    """Say what an exception says, without the advice below it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
