"""The metric of drift, and the four kinds of rows in the tables of layer tests.

What belongs here: telling curves, exchanges, single blocks and single heads apart. What does not:
losses (`claims`) and drawing.
"""

import pandas as pd

DRIFT = "drift"
"""CKA to the intact network: 1 where nothing changed up to rotation and scale."""


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the means over seeds."""
    return table[table["seed"].isna()]


def curve_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the intact network and the points of the curve: what is of no single block or head."""
    return table[table["layer"].isna() & table["head"].isna()]


def exchange_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the exchanges of two blocks."""
    return table[table["other_layer"].notna()]


def block_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the changes of a single block."""
    return table[table["layer"].notna() & table["other_layer"].isna() & table["head"].isna()]


def single_head_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the changes of a single head."""
    return table[table["head"].notna()]


def intact_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the intact network, where all curves begin."""
    return table[table["changed"] == 0]
