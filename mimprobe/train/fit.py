"""The training loop, top to bottom: images in, weights out.

What belongs here: the order of things in a run. What does not: a step (`engine`), batches
(`feed`, `shares`), files (`checkpoint`, `log`), ends (`stopping`), randomness (`samples`), losses
(`objectives`).
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError, StoppedError
from mimprobe.loop.processes import Processes, processes
from mimprobe.progress import Progress
from mimprobe.train import checkpoint
from mimprobe.train.board import Board
from mimprobe.train.config import TrainConfig
from mimprobe.train.engine import Engine
from mimprobe.train.feed import Feed
from mimprobe.train.log import RunLog, mean_loss
from mimprobe.train.objectives import OBJECTIVES, SimMIM
from mimprobe.train.samples import TrainSamples, steps_per_epoch
from mimprobe.train.saving import Saver
from mimprobe.train.shares import Part, Shares
from mimprobe.train.stopping import StopRequest, divergence
from mimprobe.train.watching import Watch


def pretrain(
    images: str | os.PathLike[str] | ImageSet,
    output: str | os.PathLike[str],
    config: TrainConfig,
    *,
    resume: bool = False,
) -> Path:
    """Train a network from scratch and return the path of its weights.

    Started by `torchrun`, the processes train one network together.

    Args:
        images: a folder `<class>/<image>`, or an opened image set.
        output: the run's folder: config, log, checkpoints, and at the end the weights.
        config: everything else that decides the run.
        resume: go on with the run in `output`; the losses continue as if it had not stopped.

    Raises:
        ImageError: too few images for one batch, or no class folders where labels are needed.
        OptionError: a batch does not divide among the processes.
        OutputError: `output` holds something else, or cannot be written.
        NonFiniteError: the loss is no longer a number; the last checkpoint is kept.
        StoppedError: SIGTERM came; a checkpoint was written.
    """
    with processes() as group:
        return _pretrain(open_images(images), Path(output), config, group, resume=resume)


def _pretrain(
    image_set: ImageSet, directory: Path, config: TrainConfig, group: Processes, *, resume: bool
) -> Path:
    classes, labels = _classes(image_set, config)
    per_epoch = steps_per_epoch(len(image_set), config)
    if per_epoch < 1:
        raise ImageError(
            f"{image_set.source} has {len(image_set)} images, fewer than one batch of "
            f"{config.batch_size}; choose a smaller batch_size"
        )
    total = config.epochs * per_epoch
    board = Board(config, directory, written=group.first)
    watch = Watch(config, image_set, directory, last=total, board=board)
    device = group.device(config.device)
    torch.manual_seed(config.seed)
    model = OBJECTIVES[config.objective](config, classes)
    feed = Feed(TrainSamples(image_set, labels, config, model.sample), config, device)
    shares = Shares(len(image_set), config, group)
    shown = {"sha256": image_set.sha256, "images": len(image_set), "classes": classes}
    group.share(lambda: checkpoint.start_run(directory, config, shown, resume=resume))
    if isinstance(model, SimMIM):
        _learn(model, image_set, directory, group)
    engine = Engine(model, config, group, device, per_epoch)
    saver = Saver(directory, engine, group, config.checkpoint_minutes)
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())  # which resuming changes
        _train(engine, shares, feed, saver, image_set.ids, watch)
    facts = {"images": len(image_set), "images_sha256": image_set.sha256}
    return _export(engine, directory, facts, classes)


def _learn(model: SimMIM, images: ImageSet, directory: Path, group: Processes) -> None:
    """Let the first process learn the target from the images, and the others read what it found."""
    group.share(lambda: model.learn(images, directory))
    if not group.first:
        model.learn(images, directory)


def _train(
    engine: Engine, shares: Shares, feed: Feed, saver: Saver, ids: Sequence[str], watch: Watch
) -> None:
    """Take every step that the run still lacks."""
    config, group, per_epoch = engine.config, engine.group, engine.per_epoch
    step, total = saver.resume(), config.epochs * per_epoch
    title = f"{config.objective} {config.arch}"
    bar = Progress(title, total * config.batch_size, unit="images", shown=group.first)
    with StopRequest() as stop, RunLog(saver.directory, step, written=group.first) as log, bar:
        bar.advance(step * config.batch_size)
        while step < total:
            for parts in shares.batches(feed, step):
                watch(step, engine.model.encoder)
                taken = engine.take_step(parts, step)
                if not taken.good:
                    names = _offenders(engine, shares, parts, step, ids)
                    raise divergence(taken, step + 1, saver.step, names, config.batch_size)
                step += 1
                log.add(step, (step - 1) // per_epoch, taken, feed.waiting)
                watch.board.add(step, taken.numbers())
                told = f"loss {taken.loss:.4f}, waiting for data {feed.waiting:.0%} of the time"
                bar.advance(config.batch_size, told)
                stopping, due = group.any_of(stop.made, saver.is_due)
                if stopping or due:
                    saver.save(step)
                if stopping:
                    raise StoppedError(
                        f"stopped by SIGTERM after step {step} of {total}; the run is saved in "
                        f"{saver.directory}, go on with --resume"
                    )
            if saver.step < step:
                saver.save(step)
    watch(total, engine.model.encoder)


def _offenders(
    engine: Engine, shares: Shares, parts: Sequence[Part], step: int, ids: Sequence[str]
) -> list[str]:
    """Name the images of all processes whose own loss or gradient is no number."""
    numbers = shares.numbers(step)
    mine = [ids[numbers[place]] for place in engine.offenders(parts, step)]
    return [name for names in engine.group.all_of(mine) for name in names]


def _export(
    engine: Engine, directory: Path, facts: Mapping[str, Any], classes: Sequence[str]
) -> Path:
    """Let the first process write the weights, with the facts of the run."""
    path, weights = directory / checkpoint.WEIGHTS, engine.weights()
    facts = {
        **facts,
        "steps": engine.config.epochs * engine.per_epoch,
        "processes": engine.group.size,
        "torch": torch.__version__,
        "device": engine.device.type,
    }

    def write() -> None:
        loss = mean_loss(directory, last=engine.per_epoch)
        checkpoint.export_weights(
            path, engine.model, engine.config, facts={**facts, "final_epoch_loss": loss},
            classes=classes, weights=weights,
        )  # fmt: skip

    engine.group.share(write)
    return path


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
