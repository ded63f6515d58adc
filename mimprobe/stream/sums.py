"""CKA from sums over images, whose size does not depend on how many there are.

What belongs here: the sums, their growth and their merging. What does not: HSIC itself
(`measures.similarity`).

With x^s_i the feature of image i at site s less a constant c^s, and k^s_i = x^s_i . x^s_i, these
sums over i are kept:

    s^s = sum x^s         total           K^s  = sum k^s        squares
    C^st = sum x^s x^t'   products        Q^st = sum k^s k^t    square_pairs
                                          W^st = sum k^s x^t    weighted

They give, for the Gram matrices K and L of sites s and t without their diagonals,

    tr(KL) = |C^st|^2 - Q^st        1'K1 = s^s.s^s - K^s
    1'KL1  = s^s' C^st s^t - s^s.W^ts - s^t.W^st + Q^st

C^st is kept for s <= t only. Columns of all sites stand side by side, and `by_site` adds up the
columns of each site. Another constant, x + d for x, turns the sums into (a^s = |d^s|^2, n images)

    s + n d     K + 2 d.s + n a     C + (s + n d) d' + d s'
    W^st + K^s d^t + 2 (d^s' C^st + (d.s)^s d^t) + a^s (s^t + n d^t)
    Q^st + 2 (W^st.d^t + W^ts.d^s) + 4 d^s' C^st d^t
         + a^t (K^s + 2 (d.s)^s) + a^s (K^t + 2 (d.s)^t) + n a^s a^t
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.measures.similarity import (
    LEAST_IMAGES,
    cka_from_hsic,
    hsic_from_totals,
    row_constant,
)
from mimprobe.shapes import Pooled
from mimprobe.stream.sites import CkaMatrix, SiteRows
from mimprobe.stream.state import State

_TENSORS = ("total", "squares", "square_pairs", "weighted")

LEAST_BLOCK = 512
"""Images gathered before they are multiplied; fewer make the products slow."""


def cka_sums_bytes(widths: Sequence[int]) -> int:
    """Memory of the sums in bytes, for sites of these widths and any number of images."""
    sites, columns = len(widths), sum(widths)
    products = sum(width * sum(widths[site:]) for site, width in enumerate(widths))
    return 8 * (products + (sites + 2) * columns + sites * sites + sites)


class FeatureSums:
    """The sums of the module's derivation, less the constant that the first rows have."""

    def __init__(self, widths: tuple[int, ...], constant: Float64[Tensor, "column"]) -> None:
        columns, sites = sum(widths), len(widths)
        ends = torch.tensor(widths).cumsum(0).tolist()
        self.own = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        self.widths = widths
        self.constant = constant
        self.images = 0
        self.total = constant.new_zeros(columns)
        self.squares = constant.new_zeros(sites)
        self.square_pairs = constant.new_zeros(sites, sites)
        self.weighted = constant.new_zeros(sites, columns)
        self.products = [constant.new_zeros(s.stop - s.start, columns - s.start) for s in self.own]

    def add(self, rows: Float32[Tensor, "image column"]) -> None:
        """Add the rows of some images."""
        x = rows.double() - self.constant
        k = self.by_site(x.square())
        self.images += len(x)
        self.total += x.sum(0)
        self.squares += k.sum(0)
        self.square_pairs += k.T @ k
        self.weighted += k.T @ x
        for own, product in zip(self.own, self.products, strict=True):
            product.addmm_(x[:, own].T, x[:, own.start :])

    def merge(self, other: "FeatureSums") -> None:
        """Add sums that were taken less another constant: exact, up to rounding."""
        d, n, s, k = other.constant - self.constant, other.images, other.total, other.squares
        a, ds = self.by_site(d.square()), self.by_site(d * s)
        turned = other.turned(d)  # d' C, [site, column]
        crossed = self.by_site(other.weighted * d)  # W^st . d^t
        lengths = torch.outer(k + 2 * ds, a)
        self.square_pairs += other.square_pairs + 2 * (crossed + crossed.T)
        self.square_pairs += 4 * self.by_site(turned * d) + lengths + lengths.T
        self.square_pairs += n * torch.outer(a, a)
        self.weighted += other.weighted + 2 * turned + torch.outer(k + 2 * ds, d)
        self.weighted += torch.outer(a, s + n * d)
        self.squares += k + 2 * ds + n * a
        self.total += s + n * d
        self.images += n
        for own, product, added in zip(self.own, self.products, other.products, strict=True):
            product.add_(added).addr_((s + n * d)[own], d[own.start :])
            product.addr_(d[own], s[own.start :])

    def state(self) -> State:
        """Give the constant and the sums."""
        tensors = {name: getattr(self, name) for name in ("constant", *_TENSORS)}
        return {"images": self.images, "products": self.products, **tensors}

    def restore(self, state: State) -> None:
        """Take over sums of the same widths, in the place of those here."""
        self.images = state["images"]
        self.constant = state["constant"].clone()
        for name in _TENSORS:
            getattr(self, name).copy_(state[name])
        for product, stored in zip(self.products, state["products"], strict=True):
            product.copy_(stored)

    def by_site(self, columns: Float64[Tensor, "*rows column"]) -> Float64[Tensor, "*rows site"]:
        """Add up the columns of each site."""
        return torch.stack(
            [part.sum(-1) for part in torch.split(columns, list(self.widths), dim=-1)], dim=-1
        )

    def turned(self, d: Float64[Tensor, "column"]) -> Float64[Tensor, "site column"]:
        """Row s holds d^s' C^st for every t, from the half of C that is kept."""
        rows = self.weighted.new_zeros(self.weighted.shape)
        for s, (own, product) in enumerate(zip(self.own, self.products, strict=True)):
            rows[s, own.start :] += d[own] @ product
            later = product[:, own.stop - own.start :] * d[own.stop :]
            for t, part in enumerate(
                torch.split(later, list(self.widths[s + 1 :]), dim=1), start=s + 1
            ):
                rows[t, own] += part.sum(1)
        return rows

    def cka(self) -> Float64[Tensor, "site other_site"]:
        """CKA of every pair of sites."""
        norms = self._product_norms()
        crossed = self.by_site(self.weighted * self.total)  # W^st . s^t
        middle = self.by_site(self.turned(self.total) * self.total) - crossed - crossed.T
        own = self.by_site(self.total.square()) - self.squares
        trace = norms - self.square_pairs
        hsic = hsic_from_totals(
            self.images, trace, own[:, None], own[None, :], middle + self.square_pairs
        )
        return cka_from_hsic(hsic)

    def _product_norms(self) -> Float64[Tensor, "site other_site"]:
        """|C^st|^2 for every pair."""
        norms = self.square_pairs.new_zeros(self.square_pairs.shape)
        for s, product in enumerate(self.products):
            parts = torch.split(product, list(self.widths[s:]), dim=1)
            norms[s, s:] = torch.stack([torch.linalg.vector_norm(part) for part in parts]).square()
        return norms + norms.triu(1).T


class CkaSums:
    """Keeps sums only: memory known beforehand (`cka_sums_bytes`), whatever the number of images.

    There is no standard error, since the sums keep no groups. Equal to `CkaFeatures` to 1e-9.
    """

    def __init__(self, sites: tuple[str, ...]) -> None:
        self._sites = SiteRows(sites)
        self._sums: FeatureSums | None = None
        self._waiting: list[Tensor] = []

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites in the order of the result."""
        return self._sites.sites

    def add(self, images: Sequence[int], features: Mapping[str, Pooled]) -> None:
        """Add the features of one batch, for every site.

        Raises:
            OptionError: other sites, widths or numbers of images, or an image added before.
        """
        self._waiting.append(self._sites.joined(images, features))
        self._sum_up(LEAST_BLOCK)

    def merge(self, other: "CkaSums") -> None:
        """Add all that another accumulator summed up, which stays as it is.

        Raises:
            OptionError: it has other sites or widths, or an image that is here too.
        """
        self._sites.meet(other._sites)
        if other._sums is not None:
            if self._sums is None:
                self._sums = FeatureSums(other._sums.widths, other._sums.constant)
            self._sums.merge(other._sums)
        self._waiting.extend(other._waiting)
        self._sum_up(LEAST_BLOCK)

    def state(self) -> State:
        """Give the sums, and the features that wait to be added to them."""
        waiting = torch.cat(self._waiting) if self._waiting else None
        sums = None if self._sums is None else self._sums.state()
        return {"sites": self._sites.state(), "sums": sums, "waiting": waiting}

    def restore(self, state: State) -> None:
        """Take over a state of the same sites, in the place of what was summed up here.

        Raises:
            OptionError: it is of other sites.
        """
        self._sites.restore(state["sites"])
        self._waiting = [] if state["waiting"] is None else [state["waiting"].clone()]
        self._sums = None
        if state["sums"] is not None:
            self._sums = FeatureSums(self._sites.widths, state["sums"]["constant"])
            self._sums.restore(state["sums"])

    def cka(self) -> CkaMatrix:
        """CKA of every pair of sites.

        Raises:
            OptionError: fewer than 4 images.
        """
        self._sum_up(1)
        if self._sums is None:
            raise OptionError(f"CKA needs at least {LEAST_IMAGES} images, got 0")
        value = self._sums.cka()
        se = torch.full_like(value, torch.nan)
        return CkaMatrix(self.sites, value, se, self._sums.images, "streaming sums keep no groups")

    def _sum_up(self, least: int) -> None:
        """Add the waiting images to the sums, in blocks, once there are enough of them."""
        count = sum(len(rows) for rows in self._waiting)
        if count < least:
            return
        rows = torch.cat(self._waiting)
        self._waiting = []
        for block in rows.tensor_split(max(1, count // LEAST_BLOCK)):
            if self._sums is None:
                self._sums = FeatureSums(self._sites.widths, row_constant(block))
            self._sums.add(block)
