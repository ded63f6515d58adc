"""`mimprobe export`: weights in another project's names."""

from pathlib import Path

import click

from mimprobe.cli.options import overwrite_option


@click.command(epilog="Example: mimprobe export runs/simmim/model.safetensors -o simmim.pth")
@click.argument("checkpoint")
@click.option("--format", "layout", default="simmim", show_default=True, help="simmim.")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="The new file, .pth.",
)  # fmt: skip
@overwrite_option()
def export(checkpoint: str, layout: str, output: Path, overwrite: bool) -> None:
    """Write CHECKPOINT, trained by 'mimprobe pretrain simmim', as the original SimMIM's code does.

    CHECKPOINT is the model.safetensors of a run, or a bundled SimMIM model.
    """
    from mimprobe.zoo.export import export_checkpoint

    path = export_checkpoint(checkpoint, output, format=layout, overwrite=overwrite)
    click.echo(f"weights: {path.resolve()}")
