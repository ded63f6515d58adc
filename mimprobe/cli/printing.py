"""Tables on the terminal, or in a pipe.

What belongs here: how a table is printed. What does not: what is in it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def text_table(*columns: str, header: bool = True) -> "Table":
    """Begin a table without lines; cells may hold rich's markup."""
    from rich.table import Table

    return Table(*columns, box=None, show_header=header, pad_edge=False)


def print_table(table: "Table") -> None:
    """Print a table; into a pipe or file without cutting or wrapping its lines."""
    from rich.console import Console

    console = Console(markup=True, highlight=False)
    if not console.is_terminal:
        console = Console(markup=True, highlight=False, width=10_000)
    console.print(table)
