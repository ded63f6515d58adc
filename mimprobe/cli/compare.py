"""`mimprobe compare`, and its two halves `probe` and `report`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mimprobe.cli.options import (
    MODEL_HELP,
    ProbeOptions,
    command_line,
    overwrite_option,
    probing,
    read_models,
    read_pairs,
)

if TYPE_CHECKING:
    from mimprobe.tables import Result


@click.command(
    epilog="Example: mimprobe compare simmim-tiny40 supervised-tiny40 random:simmim-tiny40 "
    "--images photos/ -o out/"
)
@probing
def compare(options: ProbeOptions) -> None:
    """Measure models on a folder of images and write a report."""
    from mimprobe.report import write_report

    result = _measure(options)
    click.echo(
        f"report: {write_report(result, options.output, overwrite=options.overwrite).resolve()}"
    )


compare.help = f"{compare.help}\n\n{MODEL_HELP}"


@click.command(
    epilog="Example: mimprobe probe timm:vit_base_patch16_224.mae --images photos/ -o out/"
)
@probing
def probe(options: ProbeOptions) -> None:
    """Measure models on a folder of images and write the tables."""
    result = _measure(options)
    click.echo(f"tables: {result.write(options.output, overwrite=options.overwrite).resolve()}")


probe.help = f"{probe.help}\n\n{MODEL_HELP}"


@click.command(epilog="Example: mimprobe report out/")
@click.argument("directory", type=click.Path(path_type=Path))
@overwrite_option()
def report(directory: Path, overwrite: bool) -> None:
    """Write the report of a folder of tables, as 'probe' makes them."""
    from mimprobe.report import write_report
    from mimprobe.tables import read_result

    path = write_report(read_result(directory), directory, overwrite=overwrite)
    click.echo(f"report: {path.resolve()}")


def _measure(options: ProbeOptions) -> "Result":
    """Check what is cheap to check, then measure."""
    from mimprobe.analyzers import make_analyzers
    from mimprobe.analyzers.cka import Cka
    from mimprobe.data.images import open_images
    from mimprobe.loop import probe
    from mimprobe.tables import check_output

    check_output(options.output, overwrite=options.overwrite)
    names = options.analyzers.split(",") if options.analyzers else None
    chosen = names and [name.strip() for name in names]
    make_analyzers(chosen)  # a wrong name is better found now than after the models are loaded
    image_set = open_images(
        options.images,
        limit=options.limit,
        seed=options.seed,
        skip_bad_images=options.skip_bad_images,
    )
    return probe(
        read_models(options),
        image_set,
        analyzers=chosen,
        settings=[
            Cka(
                tokens=options.cka_tokens,
                stage=None if options.cka_stage is None else options.cka_stage - 1,
                budget_bytes=options.cka_budget << 20,
            )
        ],
        kinds=read_pairs(options.kinds, "kind"),
        batch_size=options.batch_size,
        device=options.device,
        precision=options.precision,
        seed=options.seed,
        workers=options.workers,
        command=command_line(),
    )
