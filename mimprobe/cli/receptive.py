"""`mimprobe receptive`: which pixels the middle of a feature map is made of."""

import inspect
from pathlib import Path

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
    read_pairs,
)


@click.command(
    epilog="Example: mimprobe receptive simmim-tiny40 supervised-tiny40 --images photos/ "
    "--limit 50 -o out/"
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--images", required=True, type=click.Path(path_type=Path),
    help="Folder of images, searched with its subfolders.",
)  # fmt: skip
@output_option("Folder for table and report.")
@click.option(
    "--layer", type=click.IntRange(min=1), help="Counted from 1; default: each model's last."
)
@click.option(
    "--part", default="positive", show_default=True,
    help="Part of the gradient: positive, as RepLKNet's authors take it, or absolute.",
)  # fmt: skip
@click.option(
    "--kind", "kinds", multiple=True, metavar="NAME=KIND",
    help="How a model was trained, for its colour.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="At most so many images, drawn.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(min=1))
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@click.option("--skip-bad-images", is_flag=True, help="Skip and record unreadable images.")
@arch_options
@cards_option
@overwrite_option()
def receptive(
    models: tuple[str, ...],
    images: Path,
    output: Path,
    layer: int | None,
    part: str,
    kinds: tuple[str, ...],
    limit: int | None,
    batch_size: int,
    device: str,
    seed: int,
    skip_bad_images: bool,
    arch: str | None,
    arch_args: str | None,
    input_size: int | None,
    overwrite: bool,
) -> None:
    """Measure the effective receptive field of models and write a report.

    It is the gradient of the middle of a layer's feature map with respect to the input: how far
    away the pixels are that a feature is made of, in networks with attention or without.
    """
    from mimprobe.data.images import open_images
    from mimprobe.experiments.receptive_field import receptive_field
    from mimprobe.report import write_report
    from mimprobe.tables import check_output

    check_output(output, overwrite=overwrite)
    image_set = open_images(images, limit=limit, seed=seed, skip_bad_images=skip_bad_images)
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
    result = receptive_field(
        loaded,
        image_set,
        layer=None if layer is None else layer - 1,
        part=part,
        kinds=read_pairs(kinds, "kind"),
        batch_size=batch_size,
        device=device,
        seed=seed,
        command=command_line(),
    )
    click.echo(f"report: {write_report(result, output, overwrite=overwrite).resolve()}")


receptive.help = f"{inspect.cleandoc(receptive.help or '')}\n\n{MODEL_HELP}"
