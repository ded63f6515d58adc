"""CKA from the pooled features of all images, kept until the end.

What belongs here: the accumulator that keeps rows. What does not: their storage (`stream.rows`)
and the sums over Gram matrices (`stream.grams`).
"""

from collections.abc import Mapping, Sequence

import torch

from mimprobe.errors import OptionError
from mimprobe.measures.similarity import LEAST_IMAGES
from mimprobe.shapes import Pooled
from mimprobe.stream.grams import RowSource, gram_sums, group_count, jackknife_error
from mimprobe.stream.rows import FeatureRows, Rows
from mimprobe.stream.sites import CkaMatrix, SiteRows
from mimprobe.stream.state import State

BUDGET_BYTES = 512 << 20
"""Memory for features before they move to disk, and for the group sums of the jackknife."""

_COPIED_AT_ONCE = 4096


class CkaFeatures:
    """Keeps float32 features of every image; CKA and its error come from Gram matrices.

    Memory is 4 bytes for each image and feature up to `budget_bytes`; above it the features lie in
    a temporary file, with equal results. Equal bit for bit however the images were split, ordered
    and merged.
    """

    def __init__(self, sites: tuple[str, ...], *, budget_bytes: int = BUDGET_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self._sites = SiteRows(sites)
        self._rows: FeatureRows | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites in the order of the result."""
        return self._sites.sites

    @property
    def on_disk(self) -> bool:
        """Tell whether the features outgrew the budget."""
        return self._rows is not None and self._rows.on_disk

    def add(self, images: Sequence[int], features: Mapping[str, Pooled]) -> None:
        """Keep the features of one batch, for every site.

        Raises:
            OptionError: other sites, widths or numbers of images, or an image added before.
        """
        self._append(self._sites.joined(images, features).numpy())

    def merge(self, other: "CkaFeatures") -> None:
        """Add all that another accumulator keeps, which stays as it is.

        Raises:
            OptionError: it has other sites or widths, or an image that is here too.
        """
        self._sites.meet(other._sites)
        if other._rows is not None:
            self._append_all(other._rows.view())

    def state(self) -> State:
        """Give all features, in the order in which they came."""
        rows = None if self._rows is None else torch.from_numpy(self._rows.state())
        return {"sites": self._sites.state(), "rows": rows}

    def restore(self, state: State) -> None:
        """Take over a state of the same sites, in the place of what was kept here.

        Raises:
            OptionError: it is of other sites.
        """
        self._sites.restore(state["sites"])
        self.close()
        self._rows = None
        if state["rows"] is not None:
            self._append_all(state["rows"].numpy())

    def cka(self, *, seed: int = 0) -> CkaMatrix:
        """CKA of every pair of sites, with the jackknife over groups dealt out by `seed`.

        Raises:
            OptionError: fewer than 4 images.
        """
        source = self._source()
        groups, note = _groups(source, self.budget_bytes)
        sums = gram_sums(source, groups, seed)
        value = sums.cka()
        if note:
            missing = torch.full_like(value, torch.nan)
            return CkaMatrix(self.sites, value, missing, source.images, note)
        left = sums.without_each()
        return CkaMatrix(self.sites, value, jackknife_error(left), source.images, note, left)

    def close(self) -> None:
        """Forget the features, and remove them from disk."""
        if self._rows is not None:
            self._rows.close()

    def _append_all(self, rows: Rows) -> None:
        for start in range(0, len(rows), _COPIED_AT_ONCE):
            self._append(rows[start : start + _COPIED_AT_ONCE])

    def _append(self, rows: Rows) -> None:
        if self._rows is None:
            self._rows = FeatureRows(rows.shape[1], self.budget_bytes)
        self._rows.append(rows)

    def _source(self) -> RowSource:
        """Rows by rank, rank 0 being the image of the smallest index."""
        if self._rows is None or len(self._rows) < LEAST_IMAGES:
            count = len(self._sites.seen)
            raise OptionError(f"CKA needs at least {LEAST_IMAGES} images, got {count}")
        rows, order = self._rows.view(), self._sites.seen.indices().argsort().numpy()
        return RowSource(len(rows), self._sites.widths, lambda ranks: rows[order[ranks]])


def _groups(source: RowSource, budget_bytes: int) -> tuple[int, str]:
    """Number of jackknife groups, and why there is no jackknife where there is only one."""
    groups = group_count(source.images)
    if groups == 1:
        return 1, f"{source.images} images are too few for a jackknife"
    needed = 8 * groups * len(source.widths) * source.images
    if needed > budget_bytes:
        return 1, f"group sums of {needed:,} bytes exceed the budget of {budget_bytes:,} bytes"
    return groups, ""
