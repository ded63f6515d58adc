"""`mimprobe models`: which checkpoints there are, what is known of one, what a file is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mimprobe.cli.options import arch_options, cards_option, read_arguments
from mimprobe.cli.printing import print_table, text_table

if TYPE_CHECKING:
    from rich.table import Table

    from mimprobe.zoo.card import Card
    from mimprobe.zoo.fill import LoadReport

LISTED = 12
"""Tensors of one kind that a load report names on the terminal."""


@click.group()
def models() -> None:
    """List checkpoints, show or fetch one, or find out what a file is."""


@models.command("list", epilog="Example: mimprobe models list --cards my-cards/")
@cards_option
def list_models() -> None:
    """List the checkpoints that MODEL can name."""
    from mimprobe.zoo.shelf import card_names, find_card

    table = text_table("name", "kind", "architecture", "M param.", "source", "licence", "weights")
    for name in card_names():
        card = find_card(name)
        table.add_row(
            name, card.kind, card.architecture, _millions(card), card.source, card.licence,
            _whereabouts(card),
        )  # fmt: skip
    print_table(table)
    click.echo(
        "\nAlso: timm:NAME (any timm model), hf:NAME (Hugging Face transformers), random:NAME "
        "(untrained), or a weights file.\n'mimprobe models show NAME' tells everything about one."
    )


@models.command(epilog="Example: mimprobe models show moco_v3_vit_small")
@click.argument("name")
@cards_option
def show(name: str) -> None:
    """Show all that is known of a checkpoint."""
    from mimprobe.zoo.shelf import find_card

    card = find_card(name)
    table = text_table("", "", header=False)
    for key, value in _facts(card):
        table.add_row(f"[bold]{key}[/bold]", _plain(value))
    print_table(table)


@models.command(epilog="Example: mimprobe models check vit-s-300ep.pth.tar")
@click.argument("file", type=click.Path(path_type=Path))
@arch_options
def check(file: Path, arch: str | None, arch_args: str | None, input_size: int | None) -> None:
    """Find out what a weights FILE is, and what loading it would do."""
    from mimprobe.errors import CheckpointError
    from mimprobe.zoo import recognise
    from mimprobe.zoo.load import load_model
    from mimprobe.zoo.weights import read_weights

    arguments = read_arguments(arch_args)
    content = read_weights(file)
    facts: dict[str, Any] = {"file": f"{file} ({len(content.tensors)} tensors)"}
    facts |= {"under": content.top_key} if content.top_key else {}
    facts |= {"beside": content.beside} if content.beside else {}
    facts |= {"sha256": content.sha256, "content": content.checked}
    if content.metadata:
        facts |= {"source": "mimprobe's trainer"}
    elif arch is None:
        found = recognise.recognise(content, arguments)
        facts |= recognise.describe(found)
        if len(found.choices) > 1:
            for key in ("arguments", "heads"):
                facts[key] = "open, see below"
    table = text_table("", "", header=False)
    for key, value in facts.items():
        table.add_row(f"[bold]{key}[/bold]", _plain(value))
    print_table(table)
    loaded = load_model(file, arch=arch, arch_args=arguments, input_size=input_size, device="cpu")
    if loaded.load_report is None:
        raise CheckpointError(f"{file} was loaded without a report")
    print_table(_report_table(loaded.load_report))
    click.echo(f"\nit would load whole: {loaded.load_report.summary()}")


@models.command(epilog="Example: mimprobe models fetch mae_vit_base deit_base")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--from", "source", type=click.Path(path_type=Path),
    help="Take the file from here, where a browser has put it, instead of downloading it.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Replace what is in the cache.")
@cards_option
def fetch(names: tuple[str, ...], source: Path | None, again: bool) -> None:
    """Download the weights of checkpoints into the cache."""
    from mimprobe.errors import OptionError
    from mimprobe.zoo.carded import adopt_weights, card_weights
    from mimprobe.zoo.shelf import find_card

    if source is not None and len(names) > 1:
        raise OptionError(f"--from gives one file, but {len(names)} checkpoints are named")
    cards = [find_card(name) for name in names]
    for card in cards:
        path = (
            card_weights(card, fetch_again=again) if source is None else adopt_weights(card, source)
        )
        click.echo(f"{card.name}: {path}")


def _facts(card: "Card") -> list[tuple[str, Any]]:
    weights = card.weights
    facts = {
        "name": card.name,
        "title": card.title,
        "kind": card.kind,
        "source": card.source,
        "paper": card.paper,
        "licence": card.licence,
        "weights": f"{weights.file} ({_whereabouts(card)})",
        "addresses": list(weights.addresses),
        "checksum": weights.checksum,
        "remark": weights.remark,
        "converter": weights.converter,
        "may be missing": weights.missing,
        "may be left over": weights.unexpected,
        "architecture": card.architecture,
        "arguments": dict(card.arguments),
        "parameters": "" if card.parameters is None else f"{card.parameters:,}",
        "heads": list(card.heads),
        "prefix tokens": str(card.prefix_tokens),
        "preprocessing": card.preprocessing.describe(),
        "training": dict(card.training),
        **{f"result {n}": dict(result) for n, result in enumerate(card.results, start=1)},
    }
    return [(key, value) for key, value in facts.items() if value not in ("", [], {})]


def _report_table(report: "LoadReport") -> "Table":
    table = text_table("what", "tensor", "becomes, or why")
    counts: dict[str, int] = {}
    for what, key, value in report.rows():
        counts[what] = counts.get(what, 0) + 1
        if counts[what] <= LISTED:
            table.add_row(what, key, value)
    for what, count in counts.items():
        if count > LISTED:
            table.add_row(what, f"... and {count - LISTED} more", "")
    return table


def _whereabouts(card: "Card") -> str:
    """Say whether the weights are here, and how large they are."""
    from mimprobe.zoo.carded import present_weights

    path = present_weights(card)
    if path is not None:
        place = "bundled" if path == card.bundled_weights else "in the cache"
        return f"{place}, {path.stat().st_size / 1e6:,.1f} MB"
    return "to download" if card.weights.addresses else "to convert yourself"


def _millions(card: "Card") -> str:
    return "" if card.parameters is None else f"{card.parameters / 1e6:,.1f}"


def _plain(value: Any) -> str:
    """Write a value of a card for people."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        numbers = all(isinstance(one, int | float) for one in value)
        return (", " if numbers else "\n").join(_plain(one) for one in value)
    return str(value)
