"""`mimprobe layers`: what happens when layers are swapped, dropped, reset, or lose a head."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mimprobe.cli.claims import print_verdicts
from mimprobe.cli.options import (
    MODEL_HELP,
    arch_options,
    cards_option,
    command_line,
    load_named,
    output_option,
    overwrite_option,
    read_arguments,
    read_names,
    read_numbers,
    read_pairs,
)
from mimprobe.cli.resuming import resumable, resume_option, write_finished


@dataclass(frozen=True)
class LayerOptions:
    """What was typed for a layer test."""

    models: tuple[str, ...]
    images: str
    val: str
    output: Path
    readout: str
    seeds: int
    changed: str | None
    epochs: int
    training: str | None
    layer: int | None
    pooling: str
    kinds: tuple[str, ...]
    limit: int | None
    batch_size: int
    device: str
    seed: int
    skip_bad_images: bool
    budget: int
    arch: str | None
    arch_args: str | None
    input_size: int | None
    resume: bool
    overwrite: bool


def layer_options(command: Callable[[LayerOptions], None]) -> Callable[..., None]:
    """Add what all layer tests take."""

    @functools.wraps(command)
    def gathered(**typed: Any) -> None:
        command(LayerOptions(**typed))

    wrapped: Callable[..., None] = gathered
    options = [
        click.argument("models", nargs=-1, required=True, metavar="MODEL..."),
        click.option(
            "--images", required=True, metavar="TRAIN",
            help="Images that read-outs learn from, in folders by class (or shards with labels).",
        ),
        click.option(
            "--val", required=True, metavar="VAL",
            help="Images of the same classes that they are judged on; drift is taken on these.",
        ),
        output_option("Folder for tables and report."),
        click.option(
            "--readout", default="drift,knn", show_default=True, metavar="A,B",
            help="drift (CKA to the intact network; always taken), knn (20 nearest neighbours), "
            "linear (linear probe), finetune "
            "(the trainer's recipe); the last two are of the curve alone, as they take seconds and "
            "many minutes for each network.",
        ),
        click.option(
            "--seeds", default=3, show_default=True, type=int,
            help="How often what is random is drawn: permutations, fresh weights, probes.",
        ),
        click.option(
            "--changed", metavar="K,K",
            help="Numbers of changed blocks at which to fine-tune, besides the intact network; "
            "default: the whole curve.",
        ),
        click.option(
            "--epochs", default=100, show_default=True, type=int, help="Of fine-tuning."
        ),
        click.option(
            "--training", metavar="JSON",
            help="Settings of fine-tuning that shall not be the recipe's, such as "
            "'{\"batch_size\": 16}'; names as the options of mimprobe finetune.",
        ),
        click.option(
            "--layer", type=int, metavar="N",
            help="Read out behind this layer, from 1; default: the last, behind the final norm. "
            "Fine-tuning always reads the last.",
        ),
        click.option(
            "--pooling", default="mean", show_default=True,
            help="Of the tokens: mean, cls, both; fine-tuning always takes the mean.",
        ),
        click.option(
            "--kind", "kinds", multiple=True, metavar="NAME=KIND",
            help="How a model was trained, for its colour.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=1),
            help="At most so many images of each set in all; with a read-out, classes keep their "
            "shares.",
        ),
        click.option("--batch-size", default=64, show_default=True, type=click.IntRange(min=1)),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N"),
        click.option(
            "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1),
            help="The first of the seeds; also of a draw under --limit and untrained networks.",
        ),
        click.option(
            "--skip-bad-images", is_flag=True, help="Skip and record unreadable images."
        ),
        click.option(
            "--budget", default=1024, show_default=True, type=click.IntRange(min=1), metavar="MB",
            help="Memory for features; beyond it they are kept on disk.",
        ),
        arch_options,
        cards_option,
        resume_option,
        overwrite_option(),
    ]  # fmt: skip
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


@click.group()
def layers() -> None:
    """Change the layers of models and measure what is left of them."""


@layers.command(
    epilog="Example: mimprobe layers swap simmim-tiny40 supervised-tiny40 --images train/ "
    "--val val/ --readout knn,linear --seeds 3 -o out/"
)
@layer_options
def swap(options: LayerOptions) -> None:
    """Exchange every two blocks, and permute 2, 3, ... of them at random.

    In Swin and SwinV2, blocks change places within their stage and window shift.
    """
    _test("swap", options)


@layers.command(
    epilog="Example: mimprobe layers drop simmim-tiny40 supervised-tiny40 --images train/ "
    "--val val/ --readout knn,linear -o out/"
)
@layer_options
def drop(options: LayerOptions) -> None:
    """Leave out the last 1, 2, ... blocks, and each block alone.

    The final norm, and the down-sampling between stages, stay.
    """
    _test("drop", options)


@layers.command(
    epilog="Example: mimprobe layers reset simmim-tiny40 --images train/ --val val/ -o out/"
)
@layer_options
def reset(options: LayerOptions) -> None:
    """Give the last 1, 2, ... blocks fresh weights, and each block alone."""
    _test("reset", options)


@layers.command(
    epilog="Example: mimprobe layers heads simmim-tiny40 --images train/ --val val/ -o out/"
)
@layer_options
def heads(options: LayerOptions) -> None:
    """Mask each attention head alone."""
    _test("heads", options)


for test in (swap, drop, reset, heads):
    test.help = f"{inspect.cleandoc(test.help or '')}\n\n{MODEL_HELP}"


def _test(name: str, options: LayerOptions) -> None:
    """Check what is cheap to check, then load, measure and write."""
    from mimprobe.claims import evaluate_claims
    from mimprobe.data.images import open_images
    from mimprobe.experiments.layers.checks import check_choices
    from mimprobe.experiments.layers.run import layer_test
    from mimprobe.readout.labels import labels_of
    from mimprobe.tables import check_output

    check_output(options.output, overwrite=options.overwrite, resume=options.resume)
    readouts = read_names(options.readout)
    changed = None if options.changed is None else read_numbers(options.changed, "--changed")
    training = read_arguments(options.training, "--training")
    check_choices(
        name, readouts, seeds=options.seeds, batch_size=options.batch_size, epochs=options.epochs,
        changed=changed, training=training,
    )  # fmt: skip
    train, val = open_images(options.images), open_images(options.val)
    if set(readouts) - {"drift"}:
        labels_of(train, val)  # what is wrong with them is better found before models are loaded
    loaded = [
        load_named(
            text,
            arch=options.arch,
            arch_args=read_arguments(options.arch_args),
            input_size=options.input_size,
            device=options.device,
            seed=options.seed,
        )
        for text in options.models
    ]
    with resumable(options.output):
        result = layer_test(
            loaded,
            name,
            train,
            val,
            readouts=readouts,
            seeds=options.seeds,
            changed=changed,
            epochs=options.epochs,
            training=training,
            layer=None if options.layer is None else options.layer - 1,
            pooling=options.pooling,
            kinds=read_pairs(options.kinds, "kind"),
            batch_size=options.batch_size,
            device=options.device,
            seed=options.seed,
            limit=options.limit,
            skip_bad_images=options.skip_bad_images,
            budget_bytes=options.budget << 20,
            progress_in=options.output,
            resume=options.resume,
            command=command_line(),
        )
        path = write_finished(result, options.output, overwrite=options.overwrite)
    if verdicts := evaluate_claims(result):
        print_verdicts(verdicts)
        click.echo()
    click.echo(f"report: {path.resolve()}")
