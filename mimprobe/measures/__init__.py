"""Pure functions, tensors in, tensors out: the numbers, apart from what is remembered of them."""

from mimprobe.measures.attention import (
    RowProducts,
    attention_distance,
    attention_entropy,
    attention_entropy_normalised,
    head_kl,
    row_products,
)
from mimprobe.measures.information import attention_nmi
from mimprobe.measures.maps import map_distance, mean_map_distance
from mimprobe.measures.offsets import (
    OffsetCanvas,
    Rings,
    offset_means,
    offset_sums,
    ring_shares,
    rings_of,
)
from mimprobe.measures.patches import PatchRows, Windows, check_policy, patch_rows
from mimprobe.measures.similarity import hsic, linear_cka

__all__ = [
    "OffsetCanvas",
    "PatchRows",
    "Rings",
    "RowProducts",
    "Windows",
    "attention_distance",
    "attention_entropy",
    "attention_entropy_normalised",
    "attention_nmi",
    "check_policy",
    "head_kl",
    "hsic",
    "linear_cka",
    "map_distance",
    "mean_map_distance",
    "offset_means",
    "offset_sums",
    "patch_rows",
    "ring_shares",
    "rings_of",
    "row_products",
]
