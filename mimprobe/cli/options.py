"""Option families that several commands share, and how their values are read."""

import functools
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mimprobe.zoo.load import LoadedModel

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL_HELP = (
    "Each MODEL is a card name (mimprobe models list), timm:NAME, random:NAME (untrained), or the "
    "path of a weights file; NAME=MODEL gives it another name in the figures."
)


@dataclass(frozen=True)
class ProbeOptions:
    """What was typed for `probe` or `compare`."""

    models: tuple[str, ...]
    images: Path
    output: Path
    analyzers: str | None
    arch: str | None
    kinds: tuple[str, ...]
    limit: int | None
    batch_size: int
    device: str
    precision: str
    seed: int
    workers: int
    skip_bad_images: bool
    overwrite: bool


def probing(command: Callable[[ProbeOptions], None]) -> Callable[..., None]:
    """Add what `probe` and `compare` take: models, images, and how to measure."""

    @functools.wraps(command)
    def gathered(**typed: Any) -> None:
        command(ProbeOptions(**typed))

    wrapped: Callable[..., None] = gathered
    options = [
        click.argument("models", nargs=-1, required=True, metavar="MODEL..."),
        click.option(
            "--images", required=True, type=click.Path(path_type=Path),
            help="Folder of images, searched with its subfolders.",
        ),
        output_option("Folder for the result."),
        click.option("--analyzers", default=None, metavar="A,B", help="Analyzers; default: all."),
        click.option("--arch", default=None, help="timm model for weights files that do not say."),
        click.option(
            "--kind", "kinds", multiple=True, metavar="NAME=KIND",
            help="How a model was trained, for its colour: mim, contrastive, supervised, distilled"
            ", untrained.",
        ),
        click.option("--limit", type=click.IntRange(min=1), help="At most so many images, drawn."),
        click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1)),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N"),
        click.option(
            "--precision", default="float32", show_default=True, help="float32, bfloat16, float16."
        ),
        click.option("--seed", default=0, show_default=True, type=int),
        click.option("--workers", default=0, show_default=True, help="Decoding processes."),
        click.option("--skip-bad-images", is_flag=True, help="Skip and record unreadable images."),
        overwrite_option(),
    ]  # fmt: skip
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def output_option(text: str) -> Callable[[Command], Command]:
    """Where to write."""
    return click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help=text)


def overwrite_option() -> Callable[[Command], Command]:
    """Whether to replace an earlier result."""
    return click.option("--overwrite", is_flag=True, help="Replace an earlier result.")


def read_pairs(texts: tuple[str, ...], what: str) -> dict[str, str]:
    """Read NAME=VALUE options."""
    pairs = [text.rpartition("=") for text in texts]
    for (name, _, value), text in zip(pairs, texts, strict=True):
        if not name or not value:
            raise click.BadParameter(f"{text!r} is not NAME={what.upper()}", param_hint=f"--{what}")
    return {name: value for name, _, value in pairs}


def read_models(options: ProbeOptions) -> "list[LoadedModel]":
    """Load the models of a command line, with the names that it gives them."""
    from mimprobe.zoo.load import load_model

    loaded = []
    for text in options.models:
        name, equals, reference = text.partition("=")
        named = bool(equals and name) and not Path(text).exists()
        model = load_model(
            reference if named else text,
            arch=options.arch,
            device=options.device,
            seed=options.seed,
        )
        loaded.append(replace(model, name=name) if named else model)
    return loaded


def command_line() -> str:
    """Give the command as it was typed, for the manifest."""
    return shlex.join(["mimprobe", *sys.argv[1:]])
