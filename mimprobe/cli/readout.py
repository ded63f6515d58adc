"""`mimprobe readout`: which layer, and which pooling, classes are read out of best."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import click

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
from mimprobe.cli.printing import print_table, text_table
from mimprobe.cli.resuming import resumable, resume_option, write_finished

if TYPE_CHECKING:
    from mimprobe.tables import Result


@click.command(
    epilog="Example: mimprobe readout simmim-tiny40 supervised-tiny40 --train photos/train "
    "--val photos/val -o out/"
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--train", required=True, help="Labelled images to learn from, in class folders; or "
              "a tar file, wds:SHARDS or hfds:NAME:SPLIT with labels.")  # fmt: skip
@click.option("--val", required=True, help="Labelled images of the same classes to be judged on.")
@output_option("Folder for table and report.")
@click.option(
    "--readout", "readouts", default="knn,linear", show_default=True, metavar="A,B",
    help="knn, linear or attentive, which takes a pass for each layer.",
)  # fmt: skip
@click.option(
    "--pooling", "poolings", metavar="A,B",
    help="mean of the patches, cls, or both; default: mean, and cls where there is a class token.",
)  # fmt: skip
@click.option("--layers", metavar="N,M", help="Counted from 1; default: all.")
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1),
    help="How often a probe is fitted, each time with other images held out for its settings.",
)  # fmt: skip
@click.option(
    "--kind", "kinds", multiple=True, metavar="NAME=KIND",
    help="How a model was trained, for its colour.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1),
    help="At most so many images of each set in all; classes keep their shares.",
)  # fmt: skip
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(min=1))
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1),
              help="The first of the seeds; also of the draw under --limit.")  # fmt: skip
@click.option(
    "--budget", default=512, show_default=True, type=click.IntRange(min=1), metavar="MB",
    help="Memory for the features of a set; beyond it they are kept on disk.",
)  # fmt: skip
@click.option("--skip-bad-images", is_flag=True, help="Skip and record unreadable images.")
@arch_options
@cards_option
@resume_option
@overwrite_option()
def readout(
    models: tuple[str, ...],
    train: str,
    val: str,
    output: Path,
    readouts: str,
    poolings: str | None,
    layers: str | None,
    seeds: int,
    kinds: tuple[str, ...],
    limit: int | None,
    batch_size: int,
    device: str,
    seed: int,
    budget: int,
    skip_bad_images: bool,
    arch: str | None,
    arch_args: str | None,
    input_size: int | None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Read classes out of every layer of frozen models and write a report.

    The best layer of a network need not be its last, nor its class token the best pooling: the
    table and figure say which layer and pooling to probe.
    """
    from mimprobe.data.images import open_images
    from mimprobe.experiments.model_readouts import require_readouts
    from mimprobe.experiments.readouts import layer_readouts
    from mimprobe.readout.labels import labels_of
    from mimprobe.tables import check_output

    check_output(output, overwrite=overwrite, resume=resume)
    chosen = read_names(readouts)
    at = None if layers is None else [layer - 1 for layer in read_numbers(layers, "--layers")]
    require_readouts(chosen)
    sets = [open_images(images, skip_bad_images=skip_bad_images) for images in (train, val)]
    labels_of(*sets)  # what is wrong with them is better found before the models are loaded
    loaded = [
        load_named(
            text,
            arch=arch,
            arch_args=read_arguments(arch_args),
            input_size=input_size,
            device=device,
            seed=seed,
        )
        for text in models
    ]
    with resumable(output):
        result = layer_readouts(
            loaded,
            *sets,
            readouts=chosen,
            poolings=None if poolings is None else read_names(poolings),
            layers=at,
            seeds=seeds,
            seed=seed,
            kinds=read_pairs(kinds, "kind"),
            limit=limit,
            batch_size=batch_size,
            device=device,
            budget_bytes=budget << 20,
            progress_in=output,
            resume=resume,
            command=command_line(),
        )
        path = write_finished(result, output, overwrite=overwrite)
    _print_best(result)
    click.echo(f"report: {path.resolve()}")


readout.help = f"{inspect.cleandoc(readout.help or '')}\n\n{MODEL_HELP}"


def _print_best(result: "Result") -> None:
    """Print the best layer and pooling of each model and read-out, and chance."""
    from mimprobe.claims.estimates import shown_within
    from mimprobe.tables import CHANCE, best_readouts, limits_of

    table = result["readout"]
    printed = text_table("model", "read-out", "layer", "pooling", "accuracy", "95 % interval")
    for row in best_readouts(table).to_dict("records"):
        found = shown_within(row["value"], row["se"], limits_of(row["metric"]))
        printed.add_row(
            row["model"], row["metric"].removesuffix("_accuracy"), str(row["layer"] + 1),
            row["pooling"], f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}",
        )  # fmt: skip
    print_table(printed)
    chance = table.loc[table["metric"] == CHANCE, "value"].max()
    click.echo(f"best of all layers on the {table['n'].max():,} images; chance is {chance:.1%}")
