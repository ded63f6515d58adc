"""Attention by relative offset: what each head looks at around the query."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_site import PerSiteAnalyzer, Summary, flat
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.offsets import offset_means
from mimprobe.models.offsets import offset_queries, uniform_sums
from mimprobe.tables import OFFSET_COLUMNS

REACH = 16
"""Offsets of more patches are left out of the table unless asked for: 1,089 rows for each head."""


class AttentionOffset(PerSiteAnalyzer):
    """The average picture of a head's attention around its query.

    What is remembered takes 24 bytes for each head and offset: 2.5 MB for ViT-B/16 at 224 px,
    however many images.
    """

    name = "attention_offset"
    units = {"attention_offset": "1"}  # noqa: RUF012
    definition = (
        "mean over images, and over the patch queries for which there is such a patch in the image "
        "and in the query's window, of the attention to the patch at an offset of so many rows and "
        "columns; 'uniform' is what equal attention to all valid keys would give there: one over "
        "the number of keys, more near the query in shifted windows, whose corners have fewer keys"
    )
    columns = OFFSET_COLUMNS

    def __init__(self, *, reach: int = REACH) -> None:
        """Choose the largest offset in the table, in patches."""
        super().__init__()
        self.reach = reach

    def measure(self, view: View) -> Measured:
        """Give the mean attention of each image and head at each offset, and the uniform one."""
        seen = attention_of(view)
        geometry, device = seen.geometry, seen.attention.device
        uniform = offset_means(uniform_sums(geometry, device), offset_queries(geometry, device))
        return {
            self.name: offset_means(seen.offsets, seen.offset_queries),
            "uniform": uniform[0].expand(len(seen.offsets), -1, -1, -1),
        }

    def rows(self, model: str, site: str, found: Mapping[str, Summary]) -> pd.DataFrame:  # noqa: ARG002
        """One row for each head and offset that any query has."""
        summary = found[self.name]
        heads, high, wide = summary.value.shape
        grid = np.indices((heads, high, wide)).reshape(3, -1)
        frame = pd.DataFrame(
            {
                "head": pd.array(grid[0], dtype="Int64"),
                "row_offset": grid[1] - high // 2,
                "column_offset": grid[2] - wide // 2,
                "metric": self.name,
                "uniform": np.tile(found["uniform"].value.ravel(), heads),
                **flat(summary),
            }
        )
        near = frame[["row_offset", "column_offset"]].abs().max(axis=1) <= self.reach
        return frame[near & (frame["n"] > 0)].copy()
