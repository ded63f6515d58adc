"""`mimprobe overlay`: the attention of one image, laid over it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mimprobe.cli.options import (
    MODEL_HELP,
    arch_options,
    cards_option,
    load_named,
    overwrite_option,
    read_arguments,
    read_numbers,
)

if TYPE_CHECKING:
    from mimprobe.tables.heat import Overlay, Query

FORMATS = (".png", ".pdf", ".svg")


@click.command(
    epilog="Example: mimprobe overlay simmim-tiny40 dog.jpg --layers 1,6,12 --heads 0,3 "
    "--queries centre -o dog.png"
)
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--layers", metavar="1,6,12",
    help="Counted from 1, as in figures; default: first, middle and last (of a rollout: last).",
)  # fmt: skip
@click.option("--heads", metavar="all|0,3", help="Counted from 0, as in tables; default: all.")
@click.option(
    "--queries", metavar="centre|cls|ROW,COL",
    help="Patches whose attention is shown, parted by ';', counted from 0 at the top left; default:"
    " centre (of a rollout: cls, or mean over all patches where there is none).",
)  # fmt: skip
@click.option("--rollout", is_flag=True, help="Attention through all layers up to each of these.")
@click.option(
    "--fusion", default="mean", show_default=True, help="Of heads in a rollout: mean, max, min."
)
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="File for the figure: .png, .pdf or .svg.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@arch_options
@cards_option
@overwrite_option()
def overlay(
    model: str,
    image: Path,
    layers: str | None,
    heads: str | None,
    queries: str | None,
    rollout: bool,
    fusion: str,
    output: Path,
    device: str,
    seed: int,
    arch: str | None,
    arch_args: str | None,
    input_size: int | None,
    overwrite: bool,
) -> None:
    """Show where MODEL looks in IMAGE: attention of chosen queries, layers and heads."""
    from mimprobe.experiments.overlay import attention_overlay
    from mimprobe.experiments.rollout import rollout_overlay

    _check_file(output, overwrite=overwrite)
    at = None if layers is None else [layer - 1 for layer in read_numbers(layers, "--layers")]
    only = None if heads in (None, "all") else read_numbers(str(heads), "--heads")
    asked = None if queries is None else read_queries(queries)
    if rollout and heads is not None:
        raise click.UsageError("--rollout joins all heads; leave out --heads, or see --fusion")
    loaded = load_named(
        model,
        arch=arch,
        arch_args=read_arguments(arch_args),
        input_size=input_size,
        device=device,
        seed=seed,
    )
    if rollout:
        shown = rollout_overlay(
            loaded, image, layers=at, queries=asked, fusion=fusion, device=device
        )
    else:
        shown = attention_overlay(
            loaded, image, layers=at, heads=only, queries=asked or ["centre"], device=device
        )
    _write(shown, output)
    click.echo(f"figure: {output.resolve()}")


overlay.help = f"{overlay.help}\n\n{MODEL_HELP}"


def read_queries(text: str) -> "list[Query]":
    """Read queries parted by semicolons: words, or row and column."""
    found: list[Query] = []
    for part in (one.strip() for one in text.split(";")):
        if "," not in part:
            found.append(part)
            continue
        numbers = read_numbers(part, "--queries")
        if len(numbers) != 2:
            raise click.BadParameter(f"{part!r} is not ROW,COL", param_hint="--queries")
        found.append((numbers[0], numbers[1]))
    return found


def _check_file(output: Path, *, overwrite: bool) -> None:
    """Refuse a file that is there or has no known format, before any work."""
    from mimprobe.errors import OutputError, UnknownNameError

    if output.suffix.lower() not in FORMATS:
        raise UnknownNameError("format of a figure", output.suffix, FORMATS)
    if output.exists() and not overwrite:
        raise OutputError(f"{output} is already there; pass --overwrite to replace it")


def _write(shown: "Overlay", output: Path) -> None:
    from mimprobe.figures import overlay as draw
    from mimprobe.report.plate import Plate
    from mimprobe.report.rendering import render
    from mimprobe.tables import write_atomically

    picture = render(Plate("overlay", shown.quantity, lambda figure: draw(shown, figure=figure)))
    data: bytes = getattr(picture, output.suffix.lower()[1:])
    write_atomically(output, lambda file: file.write(data))
