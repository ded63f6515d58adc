"""The files of a run: config, log, checkpoint, and the weights that come out.

    config.json          the `TrainConfig`
    images.json          what tells its images from others
    log.jsonl            one line for each optimiser step
    evaluations.jsonl    one line for each epoch, where the run has images for validation
    checkpoint.pt        model, optimiser and step; replaced atomically
    model.safetensors    the result, with its metadata; written once, at the end

What belongs here: reading and writing them. What does not: deciding when.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from mimprobe.data.transforms import Preprocessing
from mimprobe.errors import CheckpointError, OutputError
from mimprobe.tables import write_atomically, write_text
from mimprobe.train.config import TrainConfig, changed_fields

CONFIG, IMAGES, LOG = "config.json", "images.json", "log.jsonl"
EVALUATIONS = "evaluations.jsonl"
CHECKPOINT, WEIGHTS = "checkpoint.pt", "model.safetensors"


def start_run(
    directory: Path, config: TrainConfig, images: Mapping[str, Any], *, resume: bool
) -> None:
    """Make the run's folder, or check that it holds the same run on the same images.

    Args:
        directory: of the run.
        config: of the run.
        images: what tells one set of images from another, ready for JSON.
        resume: go on with the run in the folder.

    Raises:
        OutputError: the folder holds a run and `resume` is not set, or it holds another run.
    """
    stored = directory / CONFIG
    if not stored.is_file():
        if directory.exists() and any(directory.iterdir()):
            raise OutputError(f"{directory} already holds other files; name another folder")
        write_text(directory / IMAGES, json.dumps(dict(images)) + "\n")
        write_text(stored, config.to_json() + "\n")
        return
    if not resume:
        raise OutputError(
            f"{directory} already holds a run; pass --resume to go on with it, or name another "
            "folder"
        )
    for left_over in directory.glob(f".{CHECKPOINT}.*"):  # by a process that was killed
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
    if changed:
        raise OutputError(
            f"{directory} holds a run with other settings ({'; '.join(changed)}); use the same "
            "ones, or name another folder"
        )


def save_checkpoint(
    directory: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Replace the run's checkpoint by the present state."""
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    write_atomically(directory / CHECKPOINT, lambda file: torch.save(state, file))


def load_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    """Put model and optimiser back and return the steps taken; 0 where there is no checkpoint.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = directory / CHECKPOINT
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except Exception as error:  # whatever a damaged file may look like
        raise CheckpointError(
            f"{path} is damaged ({_first_line(error)}); delete it to start the run again"
        ) from error


def cut_log(directory: Path, step: int) -> None:
    """Drop the lines after `step` from the log and the evaluations: they will be written again."""
    for name in (LOG, EVALUATIONS):
        if (directory / name).is_file():
            _cut(directory / name, step)


def _cut(path: Path, step: int) -> None:
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            if entry["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break  # the line that was being written when the process died
        kept.append(line + "\n")
    write_text(path, "".join(kept))


def append_evaluation(directory: Path, step: int, epoch: int, found: Mapping[str, Any]) -> None:
    """Add the evaluation after `step` steps and `epoch` epochs."""
    with (directory / EVALUATIONS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "epoch": epoch, **found}) + "\n")


def last_evaluation(directory: Path) -> dict[str, Any] | None:
    """Read the latest evaluation, if there was one."""
    path = directory / EVALUATIONS
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return found


def mean_loss(directory: Path, *, last: int) -> float:
    """Average the loss over the last logged steps."""
    lines = (directory / LOG).read_text(encoding="utf-8").splitlines()[-last:]
    losses: list[float] = [json.loads(line)["loss"] for line in lines]
    return sum(losses) / max(1, len(losses))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def export_weights(
    path: Path, model: nn.Module, config: TrainConfig, *, preprocessing: Preprocessing,
    facts: Mapping[str, Any], classes: Sequence[str],
) -> None:  # fmt: skip
    """Write the trained weights with all that is needed to load and to judge them.

    The metadata is one JSON document under the key `mimprobe`, as `zoo.load` reads it.
    """
    usual = {
        **config.arch_args,
        "img_size": config.input_size,
        "num_classes": len(classes) if config.objective == "supervised" else 0,
    }
    dtype = getattr(torch, config.export_precision)
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    document = {
        "format": 1,
        "kind": model.kind,
        "arch": config.arch,
        "arch_args": getattr(model, "arguments", usual),
        "preprocessing": preprocessing.describe(),
        "classes": list(classes),
        "training": {**json.loads(config.to_json()), **facts},
    }
    blob = safetensors.torch.save(tensors, {"mimprobe": json.dumps(document)})
    write_atomically(path, lambda file: file.write(blob))
