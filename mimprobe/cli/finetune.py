"""`mimprobe finetune`: a network learns the classes of one's own images."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mimprobe.cli.options import arch_options, cards_option, output_option, read_arguments
from mimprobe.cli.pretrain import BY_HAND, SIMMIM_ONLY, settings_options
from mimprobe.train.config import FINETUNING

SAID_OTHERWISE = ("start", "start_arch", "layer_decay", "val", "input_width")


@click.command(
    epilog="Example: mimprobe finetune runs/simmim/model.safetensors photos/train --val photos/val "
    "-o runs/finetuned --epochs 50"
)
@click.argument("model")
@click.argument("train")
@output_option("Folder of the run.")
@click.option("--val", default="", help="Images to classify after every epoch, labelled as TRAIN.")
@click.option(
    "--layer-decay", type=float, metavar="FACTOR",
    help="Of the learning rate from layer to layer; default: 0.65 for ViTs, 0.8 for Swin.",
)  # fmt: skip
@arch_options
@cards_option
@click.option("--resume", is_flag=True, help="Go on with the run in the folder.")
@click.option(
    "--change-rates", is_flag=True,
    help="With --resume: go on with other learning rates, decay or clip norm.",
)  # fmt: skip
@settings_options(FINETUNING, *BY_HAND, *SIMMIM_ONLY, *SAID_OTHERWISE)
def finetune(
    model: str,
    train: str,
    output: Path,
    val: str,
    layer_decay: float | None,
    input_size: int | None,
    arch: str | None,
    arch_args: str | None,
    resume: bool,
    change_rates: bool,
    **settings: Any,
) -> None:
    """Fine-tune MODEL on the labelled images TRAIN, by SimMIM's recipe.

    MODEL is a card, timm:NAME, random:NAME or a weights file. TRAIN is a folder of class folders, a
    tar file or shards (wds:PATTERN) with classes, or a data set (hfds:NAME:SPLIT). The result is a
    MODEL too, with the classes in it.
    """
    from mimprobe.loop import processes
    from mimprobe.train.finetune import finetune as tune
    from mimprobe.train.log import last_evaluation

    given = {"layer_decay": layer_decay, "input_size": input_size, "start_arch": arch}
    chosen = {key: value for key, value in given.items() if value is not None}
    settings |= {"val": val, "arch_args": read_arguments(arch_args), **chosen}
    named = click.get_current_context().get_parameter_source("warmup_epochs")
    if named is ParameterSource.DEFAULT:  # which is shorter in short runs
        del settings["warmup_epochs"]
    with processes() as group:
        path = tune(model, train, output, settings, resume=resume, change_rates=change_rates)
        found = last_evaluation(output)
        if group.first:
            click.echo(f"weights: {path.resolve()}")
        if group.first and found is not None:
            click.echo(_told(found))


def _told(found: dict[str, Any]) -> str:
    """Say how often the classifier is right."""
    shares = [
        f"{name} {found[key]:.1%} ({low:.1%} to {high:.1%})"
        for name, key in (("top-1", "top1"), ("top-5", "top5"))
        for low, high in [found[f"{key}_interval"]]
    ]
    return f"{', '.join(shares)} of {found['n']:,} images"
