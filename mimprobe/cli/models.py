"""`mimprobe models`: which checkpoints there are, and what is known about one."""

import json

import click


@click.group()
def models() -> None:
    """List the bundled checkpoints, or show one."""


@models.command("list")
def list_models() -> None:
    """List the checkpoints that MODEL can name."""
    from rich.console import Console
    from rich.table import Table

    from mimprobe.zoo.card import card_names, find_card

    table = Table("name", "kind", "architecture", "licence", "what it is", box=None)
    for name in card_names():
        card = find_card(name)
        table.add_row(name, card.kind, card.architecture, card.licence, card.title)
    Console().print(table)
    click.echo("\nAlso: timm:NAME (any timm model), random:NAME (untrained), or a weights file.")


@models.command()
@click.argument("name")
def show(name: str) -> None:
    """Show the card of a checkpoint."""
    from mimprobe.zoo.card import find_card

    card = find_card(name)
    facts = card.describe() | {
        "kind": card.kind,
        "architecture": card.architecture,
        "arguments": dict(card.arguments),
        "heads": card.heads,
        "prefix_tokens": card.prefix_tokens,
        "preprocessing": card.preprocessing.describe(),
        "weights": card.weights.name,
        "sha256": card.sha256,
    }
    for key, value in facts.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{key:14} {shown}")
