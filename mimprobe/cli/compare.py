"""`mimprobe compare`, and its two halves `probe` and `report`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import click

from mimprobe.cli.options import (
    MODEL_HELP,
    ProbeOptions,
    command_line,
    overwrite_option,
    probing,
    read_models,
)
from mimprobe.cli.resuming import resumable

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

    _measure_and_write(options, "report", write_report)


compare.help = f"{compare.help}\n\n{MODEL_HELP}"


@click.command(
    epilog="Example: mimprobe probe timm:vit_base_patch16_224.mae --images photos/ -o out/"
)
@probing
def probe(options: ProbeOptions) -> None:
    """Measure models on a folder of images and write the tables."""
    from mimprobe.tables import Result

    _measure_and_write(options, "tables", Result.write)


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


@runtime_checkable
class Write(Protocol):
    """What puts a result into a folder and gives the path of what people look at."""

    def __call__(self, result: "Result", directory: Path, /, *, overwrite: bool) -> Path:
        """Write it."""
        ...


def _measure_and_write(options: ProbeOptions, what: str, write: Write) -> None:
    """Measure together with the processes that there are; the first of them writes."""
    from mimprobe.loop import processes
    from mimprobe.tables import holds_progress, remove_progress

    with resumable(options.output), processes() as group:
        device = str(group.device(options.device))
        result = _measure(replace(options, device=device))
        if group.first:
            # Progress is in a folder that this very run was allowed to write to.
            allowed = options.overwrite or holds_progress(options.output)
            path = write(result, options.output, overwrite=allowed)
            click.echo(f"{what}: {path.resolve()}")
        group.meet()
        remove_progress(options.output)


def _measure(options: ProbeOptions) -> "Result":
    """Check what is cheap to check, then measure."""
    from mimprobe.analyzers import make_analyzers
    from mimprobe.analyzers.cka import Cka
    from mimprobe.data.images import open_images
    from mimprobe.loop import probe
    from mimprobe.tables import check_output

    check_output(options.output, overwrite=options.overwrite, resume=options.resume)
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
        kinds=options.kinds,
        batch_size=options.batch_size,
        device=options.device,
        precision=options.precision,
        seed=options.seed,
        workers=options.workers,
        progress_in=options.output,
        save_every=options.save_every,
        resume=options.resume,
        command=command_line(),
    )
