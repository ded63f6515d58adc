"""One vector for each image and site, kept until the end.

What belongs here: the rows of all sites, by image. What does not: their storage (`stream.rows`) and
what is made of them (`stream.spectra`, `measures.neighbours`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.shapes import Pooled
from mimprobe.stream.features import BUDGET_BYTES
from mimprobe.stream.rows import FeatureRows
from mimprobe.stream.sites import SiteRows

_COPIED_AT_ONCE = 4096


class PooledRows:
    """Float32 vectors of every image: in memory up to the budget, in a temporary file above it.

    Equal bit for bit however the images were split, ordered and merged.
    """

    def __init__(self, sites: tuple[str, ...], *, budget_bytes: int = BUDGET_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self._sites = SiteRows(sites)
        self._rows: FeatureRows | None = None

    def __len__(self) -> int:
        return len(self._sites.seen)

    @property
    def on_disk(self) -> bool:
        """Tell whether the vectors outgrew the budget."""
        return self._rows is not None and self._rows.on_disk

    def add(self, images: Sequence[int], features: Mapping[str, Pooled]) -> None:
        """Keep the vectors of one batch, for every site.

        Raises:
            OptionError: other sites, widths or numbers of images, or an image added before.
        """
        self._append(self._sites.joined(images, features))

    def merge(self, other: "PooledRows") -> None:
        """Add all that another one keeps, which stays as it is.

        Raises:
            OptionError: it has other sites or widths, or an image that is here too.
        """
        self._sites.meet(other._sites)
        if other._rows is not None:
            for part in torch.split(torch.from_numpy(other._all()), _COPIED_AT_ONCE):
                self._append(part)

    def site(self, name: str) -> Pooled:
        """Give the vectors of one site, a row for each image, by ascending index.

        Raises:
            OptionError: nothing was added.
        """
        if self._rows is None:
            raise OptionError("no features were added")
        at = self._sites.sites.index(name)
        start, width = sum(self._sites.widths[:at]), self._sites.widths[at]
        order = self._sites.seen.indices().argsort()
        return torch.from_numpy(self._rows.view()[:, start : start + width].copy())[order]

    def state(self) -> dict[str, Any]:
        """Give all that is remembered, as `restore` takes it."""
        rows = torch.zeros(0) if self._rows is None else torch.from_numpy(self._all())
        return {
            "images": self._sites.seen.indices(), "widths": list(self._sites.widths), "rows": rows,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what another one of the same sites gave as its state."""
        self._sites, self._rows = SiteRows(self._sites.sites), None
        if len(state["images"]):
            parts = torch.split(state["rows"], state["widths"], dim=1)
            self.add(state["images"].tolist(), dict(zip(self._sites.sites, parts, strict=True)))

    def _all(self) -> Any:
        assert self._rows is not None
        return self._rows.view().copy()

    def _append(self, rows: Float32[Tensor, "image column"]) -> None:
        if self._rows is None:
            self._rows = FeatureRows(rows.shape[1], self.budget_bytes)
        self._rows.append(rows.numpy())
