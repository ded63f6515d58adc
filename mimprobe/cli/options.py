"""Option families that several commands share, and how their values are read."""

import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mimprobe.cli.resuming import resume_option

if TYPE_CHECKING:
    from mimprobe.zoo.loaded import LoadedModel

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL_HELP = (
    "Each MODEL is a card name (mimprobe models list), timm:NAME, hf:NAME, random:NAME (untrained) "
    "or the path of a weights file; NAME=MODEL gives it another name in the figures."
)


@dataclass(frozen=True)
class ProbeOptions:
    """What was typed for `probe` or `compare`."""

    models: tuple[str, ...]
    images: str
    output: Path
    analyzers: str | None
    cka_tokens: str
    cka_stage: int | None
    cka_budget: int
    arch: str | None
    arch_args: dict[str, Any]
    input_size: int | None
    kinds: dict[str, str]
    limit: int | None
    batch_size: int
    device: str
    precision: str
    seed: int
    workers: int | None
    save_every: float
    resume: bool
    skip_bad_images: bool
    overwrite: bool


def probing(command: Callable[[ProbeOptions], None]) -> Callable[..., None]:
    """Add what `probe` and `compare` take: models, images, and how to measure."""

    @functools.wraps(command)
    def gathered(**typed: Any) -> None:
        typed["kinds"] = read_pairs(typed["kinds"], "kind")
        typed["arch_args"] = read_arguments(typed["arch_args"])
        command(ProbeOptions(**typed))

    wrapped: Callable[..., None] = gathered
    options = [
        click.argument("models", nargs=-1, required=True, metavar="MODEL..."),
        click.option(
            "--images", required=True,
            help="Folder of images, searched with its subfolders; a tar file; wds:SHARDS, such as "
            "'wds:train-{000..099}.tar'; or hfds:NAME[:SPLIT] of Hugging Face datasets.",
        ),
        output_option("Folder for the result."),
        click.option("--analyzers", default=None, metavar="A,B", help="Analyzers; default: all."),
        *cka_options(),
        click.option(
            "--kind", "kinds", multiple=True, metavar="NAME=KIND",
            help="How a model was trained, for its colour: mim, contrastive, supervised, distilled"
            ", untrained, other.",
        ),
        click.option("--limit", type=click.IntRange(min=1), help="At most so many images, drawn."),
        click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1)),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N"),
        click.option(
            "--precision", default="float32", show_default=True, help="float32, bfloat16, float16."
        ),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1)),
        click.option(
            "--workers", type=click.IntRange(min=0),
            help="Decoding processes; default: up to 4, none for few images.",
        ),
        resume_option,
        click.option(
            "--save-every", default=60.0, show_default=True, type=click.FloatRange(min=0),
            metavar="SECONDS", help="Time between two times of saving the progress.",
        ),
        click.option("--skip-bad-images", is_flag=True, help="Skip and record unreadable images."),
        arch_options,
        cards_option,
        overwrite_option(),
    ]  # fmt: skip
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def cka_options() -> list[Callable[[Command], Command]]:
    """Which features CKA compares, and what memory it may take for them."""
    return [
        click.option(
            "--cka-tokens", default="mean", show_default=True,
            type=click.Choice(["mean", "cls", "flattened"]),
            help="What CKA compares: the mean patch token, the class token, or all patch tokens "
            "side by side, in batches of 64 images.",
        ),
        click.option(
            "--cka-stage", type=click.IntRange(min=1), metavar="N",
            help="Only the layers of this stage, from 1, of networks with stages (Swin, ResNet).",
        ),
        click.option(
            "--cka-budget", default=2048, show_default=True, type=click.IntRange(min=1),
            metavar="MB", help="Memory for pooled features; beyond it they are kept on disk.",
        ),
    ]  # fmt: skip


def arch_options(command: Command) -> Command:
    """What a weights file does not say itself, or shall be other than usual."""
    for option in (
        click.option(
            "--input-size", type=click.IntRange(min=1), metavar="PX",
            help="Side of the input, where it shall not be the usual one; positions are resized.",
        ),
        click.option(
            "--arch-args", metavar="JSON",
            help='Arguments of the network, such as \'{"num_heads": 12}\'.',
        ),
        click.option("--arch", help="timm model for weights files that do not say it."),
    ):  # fmt: skip
        command = option(command)
    return command


def cards_option(command: Command) -> Command:
    """Let a user's own cards be found by name, in this process and in those it starts."""

    def prepend(ctx: click.Context, parameter: click.Parameter, folders: tuple[Path, ...]) -> None:  # noqa: ARG001
        if folders:
            earlier = os.environ.get("MIMPROBE_CARDS", "")
            texts = [*map(str, folders), *([earlier] if earlier else [])]
            os.environ["MIMPROBE_CARDS"] = os.pathsep.join(texts)

    return click.option(
        "--cards", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
        callback=prepend, expose_value=False, is_eager=True,
        help="Folder of your own cards; also the environment variable MIMPROBE_CARDS.",
    )(command)  # fmt: skip


def read_arguments(text: str | None, option: str = "--arch-args") -> dict[str, Any]:
    """Read a JSON object."""
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint=option) from error
    if not isinstance(found, dict):
        raise click.BadParameter(f"{text} is not a JSON object in braces", param_hint=option)
    return found


def output_option(text: str) -> Callable[[Command], Command]:
    """Where to write."""
    return click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help=text)


def overwrite_option() -> Callable[[Command], Command]:
    """Whether to replace an earlier result."""
    return click.option("--overwrite", is_flag=True, help="Replace an earlier result.")


def read_numbers(text: str, option: str) -> list[int]:
    """Read whole numbers parted by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a list of numbers such as 1,6,12", param_hint=option
        ) from None


def read_names(text: str) -> list[str]:
    """Read names parted by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_pairs(texts: tuple[str, ...], what: str) -> dict[str, str]:
    """Read NAME=VALUE options."""
    pairs = [text.rpartition("=") for text in texts]
    for (name, _, value), text in zip(pairs, texts, strict=True):
        if not name or not value:
            raise click.BadParameter(f"{text!r} is not NAME={what.upper()}", param_hint=f"--{what}")
    return {name: value for name, _, value in pairs}


def read_models(options: ProbeOptions) -> "list[LoadedModel]":
    """Load the models of a command line, with the names that it gives them."""
    return [
        load_named(
            text,
            arch=options.arch,
            arch_args=options.arch_args,
            input_size=options.input_size,
            device=options.device,
            seed=options.seed,
        )
        for text in options.models
    ]


def load_named(
    text: str, *, arch: str | None, arch_args: Mapping[str, Any], input_size: int | None,
    device: str, seed: int,
) -> "LoadedModel":  # fmt: skip
    """Load one MODEL, under the name that NAME=MODEL gives it."""
    from mimprobe.zoo.load import load_model

    name, equals, reference = text.partition("=")
    named = bool(equals and name) and not Path(text).exists()
    model = load_model(
        reference if named else text,
        arch=arch,
        arch_args=arch_args,
        input_size=input_size,
        device=device,
        seed=seed,
    )
    return replace(model, name=name) if named else model


def command_line() -> str:
    """Give the command as it was typed, for the manifest."""
    return shlex.join(["mimprobe", *sys.argv[1:]])
