"""`mimprobe claims`: the verdicts on the claims of the papers, from a folder of tables."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mimprobe.cli.printing import print_table, text_table

if TYPE_CHECKING:
    from mimprobe.claims import Verdict


@click.command(epilog="Example: mimprobe claims out/")
@click.argument("directory", type=click.Path(path_type=Path))
def claims(directory: Path) -> None:
    """Judge the claims of the papers by a folder of tables, as 'probe' makes them."""
    from rich.markup import escape

    from mimprobe.claims import evaluate_claims
    from mimprobe.tables import read_result

    verdicts = evaluate_claims(read_result(directory))
    table = text_table("claim", "verdict", "models", "quantity", "value (95 %)", "n", "why")
    for verdict in verdicts:
        several = len(verdict.parts) > 1
        if several:
            table.add_row(verdict.title, verdict.verdict, _names(verdict), "", "", "", "")
        for part in verdict.parts or (verdict,):
            table.add_row(
                "" if several else part.title, part.verdict, _names(part), _wanted(part),
                _number(part), str(part.n or ""), escape(part.why),
            )  # fmt: skip
    print_table(table)
    click.echo(
        "\nA verdict is about these checkpoints on these images, not about ways of training."
    )


def _names(verdict: "Verdict") -> str:
    from rich.markup import escape

    return escape(" against ".join(verdict.models))


def _wanted(part: "Verdict") -> str:
    """Say what is estimated, and where the claim wants it."""
    if part.question is None:
        return ""
    return f"{part.question.quantity}; {part.question.wanted} {part.threshold:g}?"


def _number(part: "Verdict") -> str:
    value, unit = part.estimate.value, "" if part.unit == "1" else f" {part.unit}"
    if math.isnan(value):
        return ""
    within = "" if math.isnan(part.low) else f" ({part.low:.3g} to {part.high:.3g})"
    return f"{value:.3g}{unit}{within}"
