"""`mimprobe reconstruct`: what a masked-image model paints where it does not see."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mimprobe.cli.options import (
    MODEL_HELP,
    arch_options,
    cards_option,
    load_named,
    output_option,
    overwrite_option,
    read_arguments,
)

if TYPE_CHECKING:
    from mimprobe.tables.painting import Reconstruction


@click.command(
    epilog="Example: mimprobe reconstruct simmim-tiny40 --images photos/ --mask random -o out/"
)
@click.argument("model", metavar="CHECKPOINT")
@click.option(
    "--images", required=True, help="Folder of images, one image, a tar file, wds: or hfds:."
)
@click.option(
    "--mask", default="random", show_default=True, metavar="WORD|BOX|FILE",
    help="random, square or block; 'box X0 Y0 X1 Y1' in pixels of the network's input; or an image "
    "whose white part is hidden.",
)  # fmt: skip
@click.option("--mask-patch", type=click.IntRange(min=1), metavar="PX", help="Default: as trained.")
@click.option("--mask-ratio", type=float, help="Share that is hidden; default: as trained.")
@click.option(
    "--norm-pix/--no-norm-pix", default=None,
    help="Whether an MAE file predicts normalised pixels, where its name does not tell.",
)  # fmt: skip
@click.option(
    "--limit", default=12, show_default=True, type=click.IntRange(min=1),
    help="At most so many images, drawn.",
)  # fmt: skip
@output_option("Folder for a figure of each image and a sheet of all.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@click.option("--skip-bad-images", is_flag=True, help="Skip unreadable images.")
@arch_options
@cards_option
@overwrite_option()
def reconstruct(
    model: str,
    images: str,
    mask: str,
    mask_patch: int | None,
    mask_ratio: float | None,
    norm_pix: bool | None,
    limit: int,
    output: Path,
    device: str,
    seed: int,
    skip_bad_images: bool,
    arch: str | None,
    arch_args: str | None,
    input_size: int | None,
    overwrite: bool,
) -> None:
    """Hide patches of images and show what CHECKPOINT predicts there.

    CHECKPOINT holds the decoder of its pre-training: mimprobe's trainer, SimMIM or MAE wrote it.
    """
    from mimprobe.data.images import open_images
    from mimprobe.experiments.painters import require_decoder_source
    from mimprobe.experiments.reconstruction import reconstruct as painted
    from mimprobe.tables import check_output

    check_output(output, overwrite=overwrite)
    require_decoder_source(model)
    masking = read_mask(mask)
    chosen = open_images(images, limit=limit, seed=seed, skip_bad_images=skip_bad_images)
    loaded = load_named(
        model,
        arch=arch,
        arch_args=read_arguments(arch_args),
        input_size=input_size,
        device=device,
        seed=seed,
    )
    shown = painted(
        loaded, chosen, mask=masking, mask_patch=mask_patch, mask_ratio=mask_ratio,
        norm_pix=norm_pix, device=device, seed=seed,
    )  # fmt: skip
    _write(shown, output)
    click.echo(f"figures: {output.resolve()}")


reconstruct.help = f"{reconstruct.help}\n\n{MODEL_HELP.replace('Each MODEL', 'CHECKPOINT')}"


def read_mask(text: str) -> str | tuple[int, ...]:
    """Read a word or file as it is, and `box X0 Y0 X1 Y1` as its numbers."""
    word, *numbers = re.split(r"[\s,:]+", text.strip())
    if word != "box":
        return text
    try:
        return tuple(int(number) for number in numbers)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not 'box X0 Y0 X1 Y1' in whole pixels", param_hint="--mask"
        ) from None


def _write(shown: "Reconstruction", output: Path) -> None:
    """Write a figure for each image, and one of all."""
    _write_figure(shown, output / "all.png")
    for number, name in enumerate(shown.ids):
        stem = re.sub(r"[^\w.-]+", "_", str(Path(name).with_suffix("")))
        _write_figure(shown.only([number]), output / f"{number:03d}-{stem}.png")


def _write_figure(shown: "Reconstruction", path: Path) -> None:
    from mimprobe.figures import reconstruction
    from mimprobe.report.plate import Plate
    from mimprobe.report.rendering import render
    from mimprobe.tables import write_atomically

    plate = Plate("reconstruction", "", lambda figure: reconstruction(shown, figure=figure))
    data = render(plate).png
    write_atomically(path, lambda file: file.write(data))
