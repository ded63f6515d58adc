"""How much the query's position says about where a head looks.

What belongs here: mutual information of query and key positions. What does not: the entropy of
single rows (`measures.attention`).

With p(q) uniform over the Q kept rows, p(k|q) = A[q,k] and p(k) = mean_q A[q,k],

    I(q;k) = mean_q sum_k A[q,k] log(A[q,k] / p(k)) = H(k) - mean_q H(A[q])
    NMI    = I / sqrt(H(q) H(k)),  H(q) = log Q

0 where all rows are equal, 1 where every query has a key of its own ("What do self-supervised
vision transformers learn?", Park et al., ICLR 2023, section 3). Key positions are positions in the
image: every window has its own.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.measures.attention import RowProducts, row_mean, row_products, widened
from mimprobe.shapes import Attention, PerHead


def attention_nmi(attention: Attention, windows: int = 1) -> PerHead:
    """Normalised mutual information of query and key position, by image and head.

    `windows` says how many equal groups of queries have keys of their own. NaN where fewer than
    two rows are left (0/0); 0 where all rows look at the same single key, its limit.
    """
    return normalised_information(row_products(attention), key_mass(attention, windows))


def key_mass(attention: Attention, windows: int = 1) -> Float64[Tensor, "batch head position"]:
    """Sum over queries of what each key position is given, in float64."""
    by_window: Tensor = torch.unflatten(widened(attention), 2, (windows, -1))
    return by_window.sum(-2, dtype=torch.float64).flatten(2)


def normalised_information(
    products: RowProducts, received: Float64[Tensor, "batch head position"]
) -> PerHead:
    """Give NMI from products of the rows and from the sums that `key_mass` gives.

    log(K A) and log(K p) with K keys stand for log A and log p: log K drops out of the difference,
    and nearly uniform rows keep their digits. The rounding of I, 1e-7 in float32, is divided by the
    root of H(k): where all rows look at almost one key, with H(k) = 1e-6, NMI is known to 1e-4.
    """
    queries = products.kept.sum(-1).double()
    share = received / queries.unsqueeze(-1)
    own = products.cross.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
    received_logs = torch.special.xlogy(share, products.keys * share).sum(-1)
    information = row_mean(own.double(), products.kept) - received_logs
    entropy = -torch.special.xlogy(share, share).sum(-1)
    found = information / (queries.log() * entropy).sqrt()
    return torch.where(entropy > 0, found, 0.0).masked_fill(queries < 2, torch.nan)
