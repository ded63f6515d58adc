"""`mimprobe demo`: the main job on what is bundled."""

from pathlib import Path

import click

from mimprobe.cli.options import command_line, overwrite_option

DEMO_MODELS = ("simmim-tiny40", "supervised-tiny40", "random:simmim-tiny40")
DEMO_IMAGES = 256


@click.command(epilog="Example: mimprobe demo --images photos/")
@click.option(
    "--output", "-o", default="mimprobe-demo", show_default=True, type=click.Path(path_type=Path),
    help="Folder for the report.",
)  # fmt: skip
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of images; default: drawn scenes."
)
@overwrite_option()
def demo(output: Path, images: Path | None, overwrite: bool) -> None:
    """Compare the bundled SimMIM and supervised networks with an untrained one."""
    from mimprobe.data.drawn import drawn_scenes
    from mimprobe.data.images import open_images
    from mimprobe.loop import probe
    from mimprobe.report import write_report
    from mimprobe.tables import check_output

    check_output(output, overwrite=overwrite)
    source = open_images(drawn_scenes(DEMO_IMAGES) if images is None else images)
    click.echo(f"comparing {', '.join(DEMO_MODELS)} on {len(source)} images ...", err=True)
    result = probe(DEMO_MODELS, source, command=command_line())
    click.echo(f"report: {write_report(result, output, overwrite=overwrite).resolve()}")
