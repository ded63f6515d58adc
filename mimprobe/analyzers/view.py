"""What an analyzer sees of one layer, with the products that several of them share.

What belongs here: cutting a layer's map into pieces that stay in the processor's cache, and doing
each pass over a piece once however many analyzers want it. What does not: definitions (`measures`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from mimprobe.errors import NonFiniteError
from mimprobe.hooks import FeaturesSeen, Observation
from mimprobe.measures.attention import RowProducts, row_products
from mimprobe.measures.offsets import offset_sums
from mimprobe.measures.patches import PatchRows, patch_rows
from mimprobe.models.geometry import Geometry, patch_distances, windows_of
from mimprobe.models.offsets import offset_canvas, offset_queries, valid_pairs
from mimprobe.shapes import Attention, Distances, OffsetMaps, Pooled, Tokens

POOLINGS = ("mean", "cls")
"""Ways to make one vector of an image's tokens."""

CHUNK_BYTES = 4 << 20
"""Largest piece of a map that is worked on at once on a CPU: a fraction of its last cache."""


class AttentionView:
    """Attention of some images in one layer, and what was already computed from it."""

    def __init__(self, attention: Attention, geometry: Geometry, first: int) -> None:
        """Look at a slice of what was seen at a site, from the batch's image `first`."""
        self.attention, self.geometry, self.first = attention, geometry, first
        self._rows: dict[str, PatchRows] = {}
        self._products: dict[str, RowProducts] = {}
        self._offsets: OffsetMaps | None = None

    def rows(self, prefix: str) -> PatchRows:
        """Rows of patch queries under a prefix policy.

        Raises:
            NonFiniteError: a row holds NaN or infinity.
        """
        if prefix not in self._rows:
            rows = patch_rows(
                self.attention,
                self.geometry.prefix_tokens,
                prefix=prefix,
                windows=windows_of(self.geometry, self.attention.device),
            )
            finite = rows.finite.all(-1)
            if not bool(finite.all()):
                raise NonFiniteError("attention", self.first + int(finite.int().argmin()))
            self._rows[prefix] = rows
        return self._rows[prefix]

    def products(self, prefix: str) -> RowProducts:
        """Row by row, the products of each head with the logarithm of every head."""
        if prefix not in self._products:
            self._products[prefix] = row_products(self.rows(prefix).attention)
        return self._products[prefix]

    @property
    def offsets(self) -> OffsetMaps:
        """Sums over the patches' rows, renormalised, of the attention at each offset."""
        if self._offsets is None:
            canvas = offset_canvas(self.geometry, self.attention.device)
            self._offsets = offset_sums(self.rows("renormalise").attention, canvas)
        return self._offsets

    @property
    def offset_queries(self) -> OffsetMaps:
        """Kept rows that have a key at each offset; of length one where all heads have as many."""
        rows, device = self.rows("renormalise"), self.attention.device
        if not bool(rows.dropped_rows.any()):
            return offset_queries(self.geometry, device)
        kept = (rows.attention.sum(-1) != 0).unsqueeze(-1) & valid_pairs(self.geometry, device)
        return offset_sums(kept.double(), offset_canvas(self.geometry, device))

    @property
    def distances(self) -> Distances:
        """Distances from each patch query to its keys, in pixels."""
        return patch_distances(self.geometry, self.attention.device)


class FeaturesView:
    """Features of some images after one layer, and what was already computed from them."""

    def __init__(self, tokens: Tokens, geometry: Geometry, first: int = 0) -> None:
        """Look at a slice of what was seen at a site, from the batch's image `first`."""
        self.tokens, self.geometry, self.first = tokens, geometry, first
        self._vectors: dict[str, Pooled] = {}
        self._wide: Tokens | None = None

    @property
    def patches(self) -> Tokens:
        """The patch tokens, row by row, without the prefix."""
        return self.tokens[:, self.geometry.prefix_tokens :]

    @property
    def wide(self) -> Tokens:
        """The patch tokens in float64.

        Raises:
            NonFiniteError: a token of the image, of the prefix too, holds NaN or infinity.
        """
        if self._wide is None:
            wide = self.tokens.double()
            self._require_finite(wide.flatten(1).sum(1))
            self._wide = wide[:, self.geometry.prefix_tokens :]
        return self._wide

    def pooled(self, tokens: str) -> Pooled:
        """One float32 vector for each image: `mean` of the patch tokens, or `cls`.

        Raises:
            NonFiniteError: a vector holds NaN or infinity.
        """
        if tokens not in self._vectors:
            if tokens == "cls":
                vectors = self.tokens[:, 0].float()
            else:
                vectors = self.patches.mean(1, dtype=torch.float64).float()
            self._require_finite(vectors)
            self._vectors[tokens] = vectors
        return self._vectors[tokens]

    def flattened(self) -> Pooled:
        """All patch tokens of an image one after the other, in float32.

        Raises:
            NonFiniteError: a token holds NaN or infinity.
        """
        vectors = self.patches.float().flatten(1)
        self._require_finite(vectors)
        return vectors

    def _require_finite(self, values: Tensor) -> None:
        finite = values.flatten(1).isfinite().all(-1) if values.ndim > 1 else values.isfinite()
        if not bool(finite.all()):
            raise NonFiniteError("features", self.first + int(finite.int().argmin()))


View = AttentionView | FeaturesView


def attention_of(view: View) -> AttentionView:
    """Narrow a view to attention, for analyzers that ask for nothing else."""
    assert isinstance(view, AttentionView)
    return view


def features_of(view: View) -> FeaturesView:
    """Narrow a view to features, for analyzers that ask for nothing else."""
    assert isinstance(view, FeaturesView)
    return view


def views(seen: Observation) -> Iterator[View]:
    """Cut an observation into views of whole images."""
    if isinstance(seen, FeaturesSeen):
        step = _images_at_once(seen.tokens, 1)
        for first, tokens in enumerate(torch.split(seen.tokens, step)):
            yield FeaturesView(tokens, seen.geometry, first * step)
        return
    windows = seen.geometry.windows
    step = _images_at_once(seen.attention, windows)
    for first, piece in enumerate(torch.split(seen.attention, step * windows)):
        yield AttentionView(piece, seen.geometry, first * step)


def _images_at_once(seen: Tensor, rows: int) -> int:
    """Count the images of a piece; each has so many rows of what was seen."""
    if seen.device.type != "cpu":
        return len(seen) // rows
    return max(1, CHUNK_BYTES // (seen[:rows].numel() * seen.element_size()))
