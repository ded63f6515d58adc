"""`mimprobe claims`: the verdicts on the claims of the papers, from a folder of tables."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mimprobe.cli.printing import print_table, text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mimprobe.claims import Verdict


@click.command(epilog="Example: mimprobe claims out/")
@click.argument("directory", type=click.Path(path_type=Path))
def claims(directory: Path) -> None:
    """Judge the claims of the papers by a folder of tables, as 'probe' makes them."""
    from mimprobe.claims import evaluate_claims
    from mimprobe.tables import read_result

    result = read_result(directory)
    verdicts = evaluate_claims(result)
    if not verdicts:
        click.echo(f"no claim is about the tables in {directory}: {', '.join(result)}")
        return
    print_verdicts(verdicts)


def print_verdicts(verdicts: "Sequence[Verdict]") -> None:
    """Print verdicts with their numbers, and what they are about."""
    from rich.markup import escape

    table = text_table("claim", "verdict", "models", "quantity", "found (95 %)", "n")
    told = ""
    for verdict in verdicts:
        several = len(verdict.parts) > 1
        title = "" if verdict.title == told else verdict.title
        told = verdict.title
        if several:
            table.add_row(title, verdict.verdict, escape(_names(verdict)))
        for part in verdict.parts or (verdict,):
            table.add_row(
                "" if several else title, f"  {part.verdict}" if several else part.verdict,
                escape(_names(part)), _wanted(part), escape(_found(part)), str(part.n or ""),
            )  # fmt: skip
    print_table(table)
    click.echo(
        "\nA verdict is about these checkpoints on these images, not about ways of training."
    )


def _names(verdict: "Verdict") -> str:
    return " against ".join(verdict.models)


def _wanted(part: "Verdict") -> str:
    """Say what is estimated, and where the claim wants it."""
    from mimprobe.claims import TOLD

    if part.question is None:
        return ""
    if part.verdict == TOLD:
        return part.question.quantity
    return f"{part.question.quantity}: {part.question.wanted} {part.threshold:g}?"


def _found(part: "Verdict") -> str:
    """Write the number with its interval, or why there is none."""
    if math.isnan(part.low):
        return part.why
    unit = "" if part.unit == "1" else f" {part.unit}"
    return f"{part.estimate.value:.3g}{unit} ({part.low:.3g} to {part.high:.3g})"
