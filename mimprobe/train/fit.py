"""The training loop, top to bottom: images in, weights out.

What belongs here: the order of things in a run. What does not: files (`checkpoint`), randomness
(`samples`), rates (`schedule`), losses (`objectives`).
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError, NonFiniteError
from mimprobe.models.device import resolve_device
from mimprobe.progress import Progress
from mimprobe.train import checkpoint
from mimprobe.train.board import Board
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives import OBJECTIVES, Objective, SimMIM
from mimprobe.train.samples import EpochOrder, TrainSamples, steps_per_epoch
from mimprobe.train.schedule import learning_rate, parameter_groups
from mimprobe.train.watching import Watch


def pretrain(
    images: str | os.PathLike[str] | ImageSet,
    output: str | os.PathLike[str],
    config: TrainConfig,
    *,
    resume: bool = False,
) -> Path:
    """Train a network from scratch and return the path of its weights.

    Args:
        images: a folder `<class>/<image>`, or an opened image set.
        output: the run's folder: config, log, checkpoint, and at the end the weights.
        config: everything else that decides the run.
        resume: go on with the run in `output`; the losses continue as if it had not stopped.

    Raises:
        ImageError: too few images for one batch, or no class folders where labels are needed.
        OutputError: `output` holds something else.
        NonFiniteError: the loss is no longer a number; the last checkpoint is kept.
    """
    image_set = open_images(images)
    classes, labels = _classes(image_set, config)
    per_epoch = steps_per_epoch(len(image_set), config)
    if per_epoch < 1:
        raise ImageError(
            f"{image_set.source} has {len(image_set)} images, fewer than one batch of "
            f"{config.batch_size}; choose a smaller batch_size"
        )
    directory, total = Path(output), config.epochs * per_epoch
    board = Board(config, directory)
    watch = Watch(config, image_set, directory, last=total, board=board)
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    model = OBJECTIVES[config.objective](config, classes).to(device)
    groups = parameter_groups(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
    shown = {"sha256": image_set.sha256, "images": len(image_set), "classes": classes}
    checkpoint.start_run(directory, config, shown, resume=resume)
    if isinstance(model, SimMIM):
        model.learn(image_set, directory)
    step = checkpoint.load_checkpoint(directory, model, optimizer, device)
    checkpoint.cut_log(directory, step)

    samples = TrainSamples(image_set, labels, config, model.sample)
    saved_at = time.monotonic()
    model.train()
    bar = Progress(f"{config.objective} {config.arch}", total * config.batch_size, unit="images")
    with (directory / checkpoint.LOG).open("a", encoding="utf-8") as log, bar:
        bar.advance(step * config.batch_size)
        while step < total:
            for batch in _batches(samples, config, step, device):
                watch(step, model.encoder)
                rate = learning_rate(step, per_epoch, config)
                loss, norm = _take_step(model, optimizer, batch, rate, step, config)
                step += 1
                _log_step(log, step, per_epoch, loss, rate, norm)
                board.add(step, {"loss": loss, "learning_rate": rate, "gradient_norm": norm})
                bar.advance(config.batch_size, f"loss {loss:.4f}")
                if time.monotonic() - saved_at > 60 * config.checkpoint_minutes:
                    checkpoint.save_checkpoint(directory, step, model, optimizer)
                    saved_at = time.monotonic()
            checkpoint.save_checkpoint(directory, step, model, optimizer)
            saved_at = time.monotonic()
    watch(total, model.encoder)
    facts = {
        "steps": total,
        "images": len(image_set),
        "images_sha256": image_set.sha256,
        "final_epoch_loss": checkpoint.mean_loss(directory, last=per_epoch),
        "torch": torch.__version__,
        "device": device.type,
    }
    weights = directory / checkpoint.WEIGHTS
    checkpoint.export_weights(weights, model, config, facts=facts, classes=classes)
    return weights


def _classes(images: ImageSet, config: TrainConfig) -> tuple[list[str], list[int]]:
    """Give the class names in order and each image's class number (0 where there are none)."""
    if images.labels is None:
        if config.objective == "supervised":
            raise ImageError(
                f"{images.source} has no class folders; supervised training needs the layout "
                "<class>/<image>"
            )
        return [], [0] * len(images)
    classes = sorted(set(images.labels))
    number = {name: index for index, name in enumerate(classes)}
    return classes, [number[name] for name in images.labels]


def _batches(
    samples: TrainSamples, config: TrainConfig, step: int, device: torch.device
) -> Iterator[Sequence[Tensor]]:
    """Load the batches from `step` to the end of its epoch.

    Raises:
        ImageError: an image is unreadable, in one line also where a worker process met it.
    """
    loader: DataLoader[Any] = DataLoader(
        samples,
        batch_sampler=EpochOrder(len(samples), config, step),
        num_workers=config.workers,
        pin_memory=device.type == "cuda",
    )
    try:
        yield from loader
    except ImageError as error:
        told = str(error).strip().splitlines()[-1]
        raise ImageError(told.rpartition("ImageError: ")[2]) from error


def _take_step(
    model: Objective,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Tensor],
    rate: float,
    step: int,
    config: TrainConfig,
) -> tuple[float, float]:
    """Take one optimiser step and give the loss and the norm of the gradient before clipping."""
    device = next(model.parameters()).device
    images, extra = (tensor.to(device, non_blocking=True) for tensor in batch)
    # Drop path draws from the global generator: by step, so that a resumed run draws the same.
    torch.manual_seed(config.seed * 1_000_003 + step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    with _precision(device, config.precision):
        loss = model(images, extra)
    if not torch.isfinite(loss):
        raise NonFiniteError(
            f"the loss is {loss.item()} at step {step + 1} (learning rate {rate:.3g}); the run "
            "stopped and the last checkpoint is kept; lower base_learning_rate to go on"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()
    return loss.item(), norm.item()


def _precision(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 where asked; `auto` asks on CUDA only."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _log_step(
    log: TextIO, step: int, per_epoch: int, loss: float, rate: float, norm: float
) -> None:
    """Append one line; floats are written in full, so that a resumed log can be compared."""
    entry = {
        "step": step,
        "epoch": (step - 1) // per_epoch,
        "loss": loss,
        "learning_rate": rate,
        "gradient_norm": norm,
        "time": round(time.time(), 3),
    }
    log.write(json.dumps(entry) + "\n")
    log.flush()
