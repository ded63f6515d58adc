"""How far, how broadly and how differently the heads of one layer look.

What belongs here: numbers of one layer's attention map, one for each image and head. What does
not: making such a map out of a network's (prefix tokens, windows: `measures.patches`), averages
over images (`stream`).

Rows that sum to zero were left out; every measure averages over the other rows, and is NaN where
none is left. Sums over keys are in the map's precision, at least float32; everything beyond, and
every result, is float64. NaN or infinity in a map makes the measures of that image and head NaN.
No gradient flows, and no input is modified.

All but the distance come from the same sums over keys. With A[h,q,k] the attention of head h, from
query q to key k, K the number of keys, m[h,q] = sum_k A[h,q,k] (one, up to rounding), and

    X[q,h,g] = sum_k A[h,q,k] log(K A[g,q,k])       one matrix product, H x K by K x H, per query

the entropy and the divergence of two heads in query q, with p = A / m, are

    -sum_k A[h,q,k] log A[h,q,k]             = m[h,q] log K - X[q,h,h]
    sum_k p[h,q,k] log(p[h,q,k] / p[g,q,k])  = (X[q,h,h] - X[q,h,g]) / m[h,q] + log(m[g,q]/m[h,q])

so no tensor of size H x H x Q x K is needed. The last term is what rows miss of one by rounding:
1e-7, as much as the divergence of heads that are alike. The factor K drops out of the divergence,
but where attention is nearly uniform it keeps the logarithm near 0, where floating point is dense:
without it a divergence of 1e-6 would drown in rounding. `log A` is log(max(A, 2^-126)), with the
smallest normal float32, in every precision: two disjoint one-hot rows diverge by 126 log 2 = 87.34.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mimprobe.shapes import Attention, Distances, HeadPairs, PerHead, RowPairs, RowSums, ValidKeys

SMALLEST = 2.0**-126
"""What a probability is raised to before its logarithm: the smallest normal float32."""

_ALIGNMENT = 64
"""Bytes; where torch's own CPU allocations start."""


@dataclass(frozen=True)
class RowProducts:
    """Sums over keys of one attention map, from which entropy and divergence follow.

    `cross` is X and `mass` is m of the module's derivation, for each image; `keys` is K.
    """

    cross: RowPairs
    mass: RowSums
    keys: int

    @property
    def kept(self) -> Bool[Tensor, "batch head query"]:
        """Tell which rows were not left out."""
        return self.mass != 0

    def row_entropy(self) -> RowSums:
        """Entropy of every row, in nats; 0 where the row was left out."""
        own = self.cross.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
        return self.mass.double() * math.log(self.keys) - own.double()

    def entropy(self) -> PerHead:
        """Mean entropy of the rows, in nats; see `attention_entropy`."""
        return row_mean(self.row_entropy(), self.kept)

    def entropy_normalised(self, valid_keys: ValidKeys | None = None) -> PerHead:
        """Mean of each row's entropy over its largest; see `attention_entropy_normalised`."""
        entropy = self.row_entropy()
        if valid_keys is None:
            choices = torch.full(entropy.shape[-1:], self.keys, device=entropy.device)
        else:
            choices = valid_keys.sum(-1)
        return row_mean(entropy / choices.double().log(), self.kept & (choices > 1))

    def head_kl(self) -> HeadPairs:
        """Mean divergence of every ordered pair of heads, in nats; see `head_kl`."""
        cross = self.cross.double()
        gap = cross.diagonal(dim1=-2, dim2=-1).unsqueeze(-1) - cross  # [b, q, h, g]
        kept = self.kept.transpose(1, 2)  # [b, q, h]
        mass = self.mass.double().transpose(1, 2).masked_fill(~kept, 1.0)
        logs = mass.log()
        gap = gap / mass.unsqueeze(-1) + logs.unsqueeze(-2) - logs.unsqueeze(-1)
        if not bool(kept.all()):
            gap = gap.masked_fill(~(kept.unsqueeze(-1) & kept.unsqueeze(-2)), 0.0)
        weight = kept.double()
        return gap.sum(1) / (weight.transpose(1, 2) @ weight)


def row_products(attention: Attention) -> RowProducts:
    """Take the logarithm and the sums over keys once, for all measures that need them."""
    attention = widened(attention)
    parts = _in_cache(attention)
    cross = torch.cat([_cross(images) for images in parts])
    mass = torch.cat([images.sum(-1, dtype=torch.float64) for images in parts])
    return RowProducts(cross, mass, attention.shape[-1])


def row_dots(attention: Attention) -> RowPairs:
    """Sum over keys of A_h A_g for every query and ordered pair of heads, in float64.

    What is made of them, 1 - cos, would lose the digits of float32 where heads are alike.
    """
    parts = [_aligned(images.double()) for images in _in_cache(attention.detach())]
    return torch.cat([torch.matmul(a.transpose(1, 2), a.permute(0, 2, 3, 1)) for a in parts])


def attention_distance(attention: Attention, distances: Distances) -> PerHead:
    """Mean over queries of the distance to the key, weighted by attention.

    sum_k A[q,k] ||p_q - p_k||, in the unit of `distances`: pixels of the network's input. "How far
    does this head look": Dosovitskiy et al., ICLR 2021, figure 7 and appendix D.7.
    """
    attention = widened(attention)
    lengths = distances.to(attention)
    reach = torch.cat([(images * lengths).sum(-1) for images in _in_cache(attention)])
    return row_mean(reach.double(), attention.sum(-1) != 0)


def attention_entropy(attention: Attention) -> PerHead:
    """Mean over queries of -sum_k A log A, in nats: 0 for one key, log K for all alike."""
    return row_products(attention).entropy()


def attention_entropy_normalised(
    attention: Attention, valid_keys: ValidKeys | None = None
) -> PerHead:
    """Mean over queries of the entropy divided by its largest value, log(valid keys of the row).

    Between 0 and 1, so that layers with different numbers of keys compare. Rows with one valid key
    have no choice and are left out. Without `valid_keys` every key is valid.
    """
    return row_products(attention).entropy_normalised(valid_keys)


def head_kl(attention: Attention) -> HeadPairs:
    """Mean over queries of KL(A_i || A_j) for every ordered pair of heads, in nats.

    Entry [b, i, j] is sum_k A_i log(A_i / A_j), averaged over the rows kept in both heads; the
    diagonal is exactly 0. Off the diagonal equal heads give 0 up to rounding (1e-7).
    """
    return row_products(attention).head_kl()


def widened(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Raise half precision to float32, keep float32 and float64, and drop the gradient."""
    values = values.detach()
    return values if values.dtype == torch.float64 else values.float()


def _in_cache(attention: Attention) -> tuple[Float[Tensor, "part head query key"], ...]:
    """Split a batch so that a temporary of a part's size (1.8 MB for ViT-B/16) stays in cache.

    On a CPU that is one image, which then gets the same bits whatever the batch.
    """
    return torch.split(attention, 1 if attention.device.type == "cpu" else max(1, len(attention)))


def _cross(attention: Attention) -> RowPairs:
    """Sum A_h log(K A_g) over keys, in one product per query; no copy for a single image."""
    attention = _aligned(attention)
    logs = attention.clamp_min(SMALLEST).mul_(attention.shape[-1]).log_()
    return torch.matmul(attention.transpose(1, 2), logs.permute(0, 2, 3, 1))


def _aligned(attention: Attention) -> Attention:
    """Copy what starts elsewhere: else the order of summation depends on the address."""
    return attention.clone() if attention.data_ptr() % _ALIGNMENT else attention


def row_mean(values: RowSums, kept: Bool[Tensor, "batch head query"]) -> PerHead:
    """Average over the rows that were kept; NaN where there is none."""
    return values.masked_fill(~kept, 0.0).sum(-1) / kept.sum(-1)
