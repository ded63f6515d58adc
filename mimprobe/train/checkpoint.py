"""The files of a run: config, log, checkpoints, and the weights that come out.

    config.json               the `TrainConfig`
    images.json               what tells its images from others
    log.jsonl                 one line for each optimiser step (`log`)
    changes.jsonl             rates that were changed on purpose when the run went on
    evaluations.jsonl         one line for each epoch, where the run has images for validation
    checkpoint.pt             model, optimiser, scaler, average and step; replaced atomically
    checkpoint-previous.pt    the one before, for the case that the newest is damaged
    model.safetensors         the result, with its metadata; written once, at the end

What belongs here: reading and writing them. What does not: deciding when.
"""

import json
import time
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from mimprobe.errors import CheckpointError, OutputError
from mimprobe.tables import write_atomically, write_text
from mimprobe.train.config import TrainConfig, changed_fields
from mimprobe.train.objectives.encoder import architecture
from mimprobe.train.preprocessing import preprocessing_of

CONFIG, IMAGES, WEIGHTS = "config.json", "images.json", "model.safetensors"
CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
CHANGES = "changes.jsonl"
NEXT = "checkpoint-next.pt"
"""A whole checkpoint on its way to becoming the newest."""


RATES = (
    "base_learning_rate", "min_learning_rate", "warmup_learning_rate", "weight_decay", "clip_norm",
)  # fmt: skip
"""Settings that may be changed on purpose after a run diverged."""


def start_run(
    directory: Path, config: TrainConfig, images: Mapping[str, Any], *, resume: bool,
    change_rates: bool = False,
) -> None:  # fmt: skip
    """Make the run's folder, or check that it holds the same run on the same images.

    Args:
        directory: of the run.
        config: of the run.
        images: what tells one set of images from another, ready for JSON.
        resume: go on with the run in the folder.
        change_rates: go on with other `RATES`; `changes.jsonl` tells which, and when.

    Raises:
        OutputError: the folder holds a run and `resume` is not set, or it holds another run.
    """
    stored = directory / CONFIG
    if not stored.is_file() or _is_unborn(directory):
        if directory.exists() and not _is_unborn(directory) and any(directory.iterdir()):
            raise OutputError(f"{directory} already holds other files; name another folder")
        write_text(directory / IMAGES, json.dumps(dict(images)) + "\n")
        write_text(stored, config.to_json() + "\n")
        return
    if not resume:
        raise OutputError(
            f"{directory} already holds a run; pass --resume to go on with it, or name another "
            "folder"
        )
    for left_over in directory.glob(".checkpoint*.pt.*"):  # by a process that was killed
        left_over.unlink(missing_ok=True)
    try:
        changed = changed_fields(stored.read_text(encoding="utf-8"), config)
        before = json.loads((directory / IMAGES).read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise OutputError(
            f"the run in {directory} is damaged ({_first_line(error)}); name another folder"
        ) from error
    if before != dict(images):
        raise OutputError(
            f"{directory} holds a run on other images; resume it on the same ones, or name another "
            "folder"
        )
    tuned = [one for one in changed if change_rates and one.split()[0] in RATES]
    changed = [one for one in changed if one not in tuned]
    if changed:
        raise OutputError(
            f"{directory} holds a run with other settings ({'; '.join(changed)}); use the same "
            "ones, or name another folder"
        )

    if tuned:
        with (directory / CHANGES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), "changed": tuned}) + "\n")
        write_text(stored, config.to_json() + "\n")


def _is_unborn(directory: Path) -> bool:
    """Tell whether a run failed before its first step: it left its settings and nothing else."""
    if not directory.is_dir():
        return False
    return {path.name for path in directory.iterdir()} == {CONFIG, IMAGES}


def save_checkpoint(directory: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint and keep the one before; at every moment a whole one is there.

    Raises:
        OutputError: it cannot be written, such as on a full disk; nothing that was there is lost.
    """
    newest = directory / CHECKPOINT
    try:
        write_atomically(directory / NEXT, lambda file: torch.save(dict(state), file))
        if newest.is_file():
            newest.replace(directory / PREVIOUS)
        (directory / NEXT).replace(newest)
    except (OSError, RuntimeError) as error:  # PyTorch's writer makes a RuntimeError of some
        raise OutputError(
            f"{newest} cannot be written at step {state['step']} ({_reason(error)}); "
            f"{_what_is_left(directory)}: make room, and go on with --resume"
        ) from error


def newest(directory: Path) -> str | None:
    """Name the newest checkpoint that can be read; a damaged one is put aside with a warning.

    Raises:
        CheckpointError: there are checkpoints, and all of them are damaged.
    """
    damaged: list[tuple[Path, CheckpointError]] = []
    for path in (directory / name for name in (NEXT, CHECKPOINT, PREVIOUS)):
        if not path.is_file():
            continue
        try:
            step = int(read_checkpoint(path)["step"])
        except CheckpointError as error:
            damaged.append((path, error))
            continue
        for bad, why in damaged:
            # Out of the way, so that it does not take the place of the good one before it.
            bad.replace(bad.with_suffix(".damaged"))
            warnings.warn(
                f"{why}; it is put aside as {bad.stem}.damaged and the run goes on from step "
                f"{step}",
                stacklevel=2,
            )
        return path.name
    if damaged:
        raise CheckpointError(f"{damaged[0][1]}; delete it to start the run again")
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        _check_sums(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        int(state["step"])
    except Exception as error:  # whatever a damaged file may look like
        raise CheckpointError(f"{path} is damaged ({_first_line(error)})") from error
    return state


def _check_sums(path: Path) -> None:
    """Look for flipped bits, which `torch.load` would take as numbers."""
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {broken}")


def _reason(error: OSError | RuntimeError) -> str:
    if "[enforce fail" in str(error):  # PyTorch's writer, which says where in its code
        return "the disk is full, or files may not be that large"
    return getattr(error, "strerror", None) or _first_line(error)


def _what_is_left(directory: Path) -> str:
    if any((directory / name).is_file() for name in (NEXT, CHECKPOINT, PREVIOUS)):
        return "the checkpoint before it is kept"
    return "there was none before it"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def export_weights(
    path: Path, model: Any, config: TrainConfig, *, facts: Mapping[str, Any],
    classes: Sequence[str], weights: Mapping[str, Tensor] | None = None,
) -> None:  # fmt: skip
    """Write the trained weights with all that is needed to load and to judge them.

    The metadata is one JSON document under the key `mimprobe`, as `zoo.load` reads it.
    `weights` are taken in place of the model's own.
    """
    dtype = getattr(torch, config.export_precision)
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in (weights or model.state_dict()).items()
    }
    name, arguments = architecture(config, model.encoder.num_classes)
    document = {
        "format": 1,
        "kind": model.kind,
        "arch": name,
        "arch_args": getattr(model, "arguments", arguments),
        "preprocessing": preprocessing_of(model, config).describe(),
        "classes": list(classes),
        "training": {**json.loads(config.to_json()), **facts},
    }
    blob = safetensors.torch.save(tensors, {"mimprobe": json.dumps(document)})
    write_atomically(path, lambda file: file.write(blob))
