"""The training loop, top to bottom: images in, weights out.

What belongs here: the order of things in a run. What does not: what it sees (`inputs`), a step
(`engine`), batches (`feed`, `finish`, `shares`), files (`checkpoint`, `log`), ends (`stopping`),
randomness (`samples`), losses (`objectives`).
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Subset

from mimprobe.data.images import ImageSet
from mimprobe.errors import StoppedError
from mimprobe.loop.processes import Processes, processes
from mimprobe.models.allocation import kept_pages
from mimprobe.progress import Progress
from mimprobe.train import checkpoint
from mimprobe.train.board import Board
from mimprobe.train.config import TrainConfig
from mimprobe.train.engine import Engine
from mimprobe.train.evaluation import Evaluation, LabelledImages, evaluate
from mimprobe.train.feed import Feed
from mimprobe.train.finish import samples_of
from mimprobe.train.inputs import Inputs, inputs_of
from mimprobe.train.log import RunLog, append_evaluation, last_evaluation, mean_loss
from mimprobe.train.objectives import OBJECTIVES, Objective, SimMIM
from mimprobe.train.preprocessing import preprocessing_of
from mimprobe.train.samples import steps_per_epoch
from mimprobe.train.saving import Saver
from mimprobe.train.shares import Part, Shares
from mimprobe.train.stopping import StopRequest, divergence
from mimprobe.train.watching import Watch

Build = Callable[[TrainConfig, Sequence[str]], Objective]
"""Makes what is trained, from the settings of a run and the names of its classes."""


def pretrain(
    images: str | os.PathLike[str] | ImageSet,
    output: str | os.PathLike[str],
    config: TrainConfig,
    *,
    resume: bool = False,
    change_rates: bool = False,
    build: Build | None = None,
) -> Path:
    """Train a network and return the path of its weights.

    Started by `torchrun`, the processes train one network together.

    Args:
        images: a folder `<class>/<image>`, an archive or data set, or an opened image set.
        output: the run's folder: config, log, checkpoints, and at the end the weights.
        config: everything else that decides the run.
        resume: go on with the run in `output`; the losses continue as if it had not stopped.
        change_rates: go on with other learning rates, weight decay or norm of the gradient, such as
            after a loss that was no number.
        build: makes what is trained, from `config` and the names of the classes, in place of what
            `config.objective` names.

    Raises:
        ImageError: too few images for one batch, or labels that are missing or wrong.
        OptionError: a batch does not divide among the processes.
        OutputError: `output` holds something else, or cannot be written.
        NonFiniteError: the loss is no longer a number; the last checkpoint is kept.
        StoppedError: SIGTERM came; a checkpoint was written.
    """
    with processes() as group, ExitStack() as stack:
        inputs = inputs_of(images, config)
        run = _prepare(
            inputs, Path(output), config, group, build or OBJECTIVES[config.objective],
            resume=resume, change_rates=change_rates,
        )  # fmt: skip
        stack.callback(torch.set_num_threads, torch.get_num_threads())  # which resuming changes
        stack.enter_context(kept_pages(run.engine.device))
        try:
            _train(run)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(
                f"the same command with --resume goes on from step {run.saver.step}"
            ) from error
        return _export(run)


@dataclass(frozen=True)
class _Run:
    """What the steps of a run go through, in their order."""

    inputs: Inputs
    shares: Shares
    feed: Feed
    engine: Engine
    watch: Watch
    saver: Saver
    val: LabelledImages | None

    @property
    def steps(self) -> int:
        """Optimiser steps from the first to the last."""
        return self.engine.config.epochs * self.engine.per_epoch


def _prepare(
    inputs: Inputs, directory: Path, config: TrainConfig, group: Processes, build: Build, *,
    resume: bool, change_rates: bool,
) -> _Run:  # fmt: skip
    per_epoch = steps_per_epoch(len(inputs.images), config)
    shares = Shares(len(inputs.images), config, group)
    device = group.device(config.device)
    torch.manual_seed(config.seed)
    model = build(config, inputs.classes)
    preprocessing = preprocessing_of(model, config)
    watch = Watch(
        config, inputs.images, directory, last=config.epochs * per_epoch,
        board=Board(config, directory, written=group.first), kind=model.kind,
        preprocessing=preprocessing,
    )  # fmt: skip
    samples, finish = samples_of(
        inputs.images, inputs.labels, model.sample, config, device, preprocessing
    )
    group.share(
        lambda: checkpoint.start_run(
            directory, config, inputs.describe(), resume=resume, change_rates=change_rates
        )
    )
    if isinstance(model, SimMIM):
        _learn(model, inputs.images, directory, group)
    engine = Engine(model, config, group, device, per_epoch, finish)
    val = None
    if inputs.val is not None:
        val = LabelledImages(inputs.val, inputs.val_labels, preprocessing)
    saver = Saver(directory, engine, group, config.checkpoint_minutes)
    return _Run(inputs, shares, Feed(samples, config, device), engine, watch, saver, val)


def _learn(model: SimMIM, images: ImageSet, directory: Path, group: Processes) -> None:
    """Let the first process learn the target from the images, and the others read what it found."""
    group.share(lambda: model.learn(images, directory))
    if not group.first:
        model.learn(images, directory)


def _train(run: _Run) -> None:
    """Take every step that the run still lacks."""
    engine, saver, watch, feed = run.engine, run.saver, run.watch, run.feed
    config, group, per_epoch = engine.config, engine.group, engine.per_epoch
    step, total = saver.resume(), run.steps
    title = f"{config.objective} {config.arch}"
    bar = Progress(title, total * config.batch_size, unit="images", shown=group.first)
    with StopRequest() as stop, RunLog(saver.directory, step, written=group.first) as log, bar:
        bar.advance(step * config.batch_size)
        while step < total:
            for parts in run.shares.batches(feed, step):
                watch(step, engine.model.encoder)
                taken = engine.take_step(parts, step)
                if not taken.good:
                    names = _offenders(run, parts, step)
                    raise divergence(taken, step + 1, saver.step, names, config.batch_size)
                step += 1
                log.add(step, (step - 1) // per_epoch, taken, feed.waiting)
                watch.board.add(step, taken.numbers())
                told = f"loss {taken.loss:.4f}, waiting for data {feed.waiting:.0%} of the time"
                bar.advance(config.batch_size, told)
                stopping, due = group.any_of(stop.made, saver.is_due)
                if step % per_epoch == 0:
                    # Before the checkpoint: a run that goes on from it is beyond this epoch.
                    _evaluate(run, step)
                elif not (stopping or due):
                    continue
                saver.save(step)
                if stopping:
                    raise StoppedError(
                        f"stopped by SIGTERM after step {step} of {total}; the run is saved in "
                        f"{saver.directory}, go on with --resume"
                    )
    watch(total, engine.model.encoder)


def _evaluate(run: _Run, step: int) -> None:
    """Classify the images of validation, if there are any, each process a part of them."""
    if run.val is None:
        return
    engine, group = run.engine, run.engine.group
    mine = Subset(run.val, range(group.rank, len(run.val), group.size))
    with engine.as_exported():
        found = evaluate(engine.model.encoder, mine, engine.config, engine.device)
    summed = group.total(torch.tensor(found.counts(), dtype=torch.float64)).tolist()
    if group.first:
        together = Evaluation.of_counts(summed)
        append_evaluation(
            run.saver.directory, step, step // engine.per_epoch, together.describe()
        )  # fmt: skip
        run.watch.board.add(step, {"top1": together.top1 / together.n})


def _offenders(run: _Run, parts: Sequence[Part], step: int) -> list[str]:
    """Name the images of all processes whose own loss or gradient is no number."""
    numbers, ids = run.shares.numbers(step), run.inputs.images.ids
    mine = [ids[numbers[place]] for place in run.engine.offenders(parts, step)]
    return [name for names in run.engine.group.all_of(mine) for name in names]


def _export(run: _Run) -> Path:
    """Let the first process write the weights, with the facts of the run."""
    engine, directory, images = run.engine, run.saver.directory, run.inputs.images
    path, weights = directory / checkpoint.WEIGHTS, engine.weights()

    def write() -> None:
        facts = {
            "steps": run.steps,
            "images": len(images),
            "images_sha256": images.sha256,
            "final_epoch_loss": mean_loss(directory, last=engine.per_epoch),
            "evaluation": last_evaluation(directory),
            "processes": engine.group.size,
            "torch": torch.__version__,
            "device": engine.device.type,
        }
        checkpoint.export_weights(
            path, engine.model, engine.config, facts=facts, classes=run.inputs.classes,
            weights=weights,
        )  # fmt: skip

    engine.group.share(write)
    return path
