"""`mimprobe pretrain`: train a network of one's own, ready to be probed."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from mimprobe.cli.options import read_arguments
from mimprobe.train.config import TrainConfig

BY_HAND = ("objective", "arch", "arch_args", "input_size")
SIMMIM_ONLY = (
    "mask_patch", "mask_ratio", "mask", "head", "target", "target_scale", "loss", "loss_on",
    "norm_window", "clusters", "bins", "tokenizer", "vocabulary",
)  # fmt: skip
SUPERVISED_ONLY = ("label_smoothing", "val")
FINETUNE_ONLY = (
    "start", "start_arch", "layer_decay", "auto_augment", "color_jitter", "erasing", "mixup",
    "cutmix",
)  # fmt: skip

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def settings_options(defaults: Mapping[str, Any], *left_out: str) -> Decorator:
    """Turn the fields of `TrainConfig` into options; their help is the record's docstring.

    Args:
        defaults: values that take the place of the fields' own.
        left_out: fields that get no option.
    """
    text = inspect.getdoc(TrainConfig) or ""
    helps = dict(re.findall(r"^ {4}(\w+): ((?:.|\n {8})+?)[.;]?$", text, flags=re.MULTILINE))

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed(fields(TrainConfig)):
            if field.name in BY_HAND or field.name in left_out:
                continue
            assert field.default is not MISSING
            default = defaults.get(field.name, field.default)
            command = click.option(
                "--" + field.name.replace("_", "-"),
                default=default, type=type(field.default), show_default=True,
                is_flag=isinstance(field.default, bool),
                help=_sentence(helps[field.name]),
            )(command)  # fmt: skip
        return command

    return add


def training(*left_out: str) -> Decorator:
    """Add what both ways of training from scratch take."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = settings_options({}, *FINETUNE_ONLY, *left_out)(command)
        for option in (
            click.option(
                "--change-rates", is_flag=True,
                help="With --resume: go on with other learning rates, decay or clip norm.",
            ),
            click.option("--resume", is_flag=True, help="Go on with the run in the folder."),
            click.option(
                "--arch-args", default="{}", metavar="JSON",
                help='More arguments of the timm model, such as \'{"patch_size": 8}\'.',
            ),
            click.option(
                "--input-size", default=224, show_default=True,
                help="Side (or height) in pixels.",
            ),
            click.option(
                "--arch", default="vit_small_patch16_224", show_default=True,
                help="A timm ViT, BEiT, Swin or SwinV2, or a card.",
            ),
            click.option(
                "--output", "-o", required=True, type=click.Path(path_type=Path),
                help="Folder of the run.",
            ),
            click.argument("images", type=click.Path(path_type=Path)),
        ):  # fmt: skip
            command = option(command)
        return command

    return add


def _sentence(text: str) -> str:
    """Give the first clause of a field's description as a sentence, without its markup."""
    clause = " ".join(text.split(";")[0].replace("`", "").split())
    return clause[0].upper() + clause[1:] + "."


@click.group()
def pretrain() -> None:
    """Train a ViT or Swin on a folder of images: the result is a MODEL for 'compare'."""


@pretrain.command(
    epilog="Example: mimprobe pretrain simmim photos/ -o runs/simmim --epochs 100 --batch-size 256"
)
@training(*SUPERVISED_ONLY)
def simmim(images: Path, output: Path, arch_args: str, **given: Any) -> None:
    """Train by SimMIM: predict the pixels of masked patches."""
    _run("simmim", images, output, arch_args, **given)


@pretrain.command(
    epilog="Example: mimprobe pretrain supervised photos/ -o runs/supervised --epochs 100"
)
@training(*SIMMIM_ONLY)
def supervised(images: Path, output: Path, arch_args: str, **given: Any) -> None:
    """Train by classification; IMAGES holds one folder for each class."""
    _run("supervised", images, output, arch_args, **given)


def _run(
    objective: str, images: Path, output: Path, arch_args: str, *, resume: bool,
    change_rates: bool, **settings: Any,
) -> None:  # fmt: skip
    from mimprobe.loop import processes
    from mimprobe.train.fit import pretrain as train

    config = TrainConfig(objective=objective, arch_args=read_arguments(arch_args), **settings)
    with processes() as group:
        path = train(images, output, config, resume=resume, change_rates=change_rates)
        if group.first:
            click.echo(f"weights: {path.resolve()}")
