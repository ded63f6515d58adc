"""The training loop, top to bottom: images in, weights out.

What belongs here: the order of things in a run. What does not: files (`checkpoint`), randomness
(`samples`), rates (`schedule`), losses (`objectives`), what is on the device (`feed`).
"""

import json
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from mimprobe.data.images import ImageSet
from mimprobe.errors import NonFiniteError
from mimprobe.models.device import resolve_device
from mimprobe.progress import Progress
from mimprobe.train import checkpoint
from mimprobe.train.config import TrainConfig
from mimprobe.train.evaluation import LabelledImages, evaluate
from mimprobe.train.feed import Feed
from mimprobe.train.finish import samples_of
from mimprobe.train.inputs import inputs_of
from mimprobe.train.objectives import OBJECTIVES, Finetune, Objective
from mimprobe.train.preprocessing import preprocessing_of
from mimprobe.train.samples import EpochOrder, steps_per_epoch
from mimprobe.train.schedule import learning_rate, parameter_groups


def pretrain(
    images: str | os.PathLike[str] | ImageSet,
    output: str | os.PathLike[str],
    config: TrainConfig,
    *,
    resume: bool = False,
) -> Path:
    """Train a network and return the path of its weights.

    Args:
        images: a folder `<class>/<image>`, or an opened image set.
        output: the run's folder: config, log, checkpoint, and at the end the weights.
        config: everything else that decides the run.
        resume: go on with the run in `output`; the losses continue as if it had not stopped.

    Raises:
        ImageError: too few images for one batch, or labels that are missing or wrong.
        OutputError: `output` holds something else.
        NonFiniteError: the loss is no longer a number; the last checkpoint is kept.
    """
    inputs = inputs_of(images, config)
    per_epoch = steps_per_epoch(len(inputs.images), config)
    directory = Path(output)
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    model = OBJECTIVES[config.objective](config, inputs.classes).to(device)
    preprocessing = preprocessing_of(model, config)
    groups = parameter_groups(model, config)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
    checkpoint.start_run(directory, config, inputs.describe(), resume=resume)
    step = checkpoint.load_checkpoint(directory, model, optimizer, device)
    checkpoint.cut_log(directory, step)

    samples, finish = samples_of(
        inputs.images, inputs.labels, model.sample, config, device, preprocessing
    )
    feed = Feed(samples, config, device)
    total, saved_at = config.epochs * per_epoch, time.monotonic()
    model.train()
    bar = Progress(f"{config.objective} {config.arch}", total * config.batch_size, unit="images")
    with (directory / checkpoint.LOG).open("a", encoding="utf-8") as log, bar:
        bar.advance(step * config.batch_size)
        while step < total:
            for batch in feed.batches(EpochOrder(len(inputs.images), config, step)):
                rate = learning_rate(step, per_epoch, config)
                loss, norm = _take_step(model, optimizer, finish(batch), rate, step, config)
                step += 1
                _log_step(log, step, per_epoch, loss, rate, norm, feed.waiting)
                told = f"loss {loss:.4f}, waiting for data {feed.waiting:.0%} of the time"
                bar.advance(config.batch_size, told)
                # The last step of an epoch is saved below, when its evaluation is written too.
                late = time.monotonic() - saved_at > 60 * config.checkpoint_minutes
                if late and step % per_epoch:
                    checkpoint.save_checkpoint(directory, step, model, optimizer)
                    saved_at = time.monotonic()
            if inputs.val is not None:
                val = LabelledImages(inputs.val, inputs.val_labels, preprocessing)
                found = evaluate(model.encoder, val, config, device).describe()
                checkpoint.append_evaluation(directory, step, step // per_epoch, found)
            checkpoint.save_checkpoint(directory, step, model, optimizer)
            saved_at = time.monotonic()
    facts = {
        "steps": total,
        "images": len(inputs.images),
        "images_sha256": inputs.images.sha256,
        "final_epoch_loss": checkpoint.mean_loss(directory, last=per_epoch),
        "evaluation": checkpoint.last_evaluation(directory),
        "torch": torch.__version__,
        "device": device.type,
    }
    weights = directory / checkpoint.WEIGHTS
    checkpoint.export_weights(
        weights, model, config, preprocessing=preprocessing, facts=facts, classes=inputs.classes
    )
    return weights


def _take_step(
    model: Objective,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    rate: float,
    step: int,
    config: TrainConfig,
) -> tuple[float, float]:
    """Take one optimiser step and give the loss and the norm of the gradient before clipping."""
    device = next(model.parameters()).device
    images, extra = batch
    if isinstance(model, Finetune):
        drawn = np.random.default_rng((config.seed, step))
        images, extra = model.prepare(images, extra, drawn)
    # Drop path draws from the global generator: by step, so that a resumed run draws the same.
    torch.manual_seed(config.seed * 1_000_003 + step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
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
    log: TextIO,
    step: int,
    per_epoch: int,
    loss: float,
    rate: float,
    norm: float,
    waiting: float,
) -> None:
    """Append one line; floats are written in full, so that a resumed log can be compared."""
    entry = {
        "step": step,
        "epoch": (step - 1) // per_epoch,
        "loss": loss,
        "learning_rate": rate,
        "gradient_norm": norm,
        "waiting": round(waiting, 4),
        "time": round(time.time(), 3),
    }
    log.write(json.dumps(entry) + "\n")
    log.flush()
