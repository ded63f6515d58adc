"""Pure functions, tensors in, tensors out: the numbers, apart from what is remembered of them."""

from mimprobe.measures.attention import (
    RowProducts,
    attention_distance,
    attention_entropy,
    attention_entropy_normalised,
    head_kl,
    row_products,
)
from mimprobe.measures.patches import PatchRows, Windows, check_policy, patch_rows
from mimprobe.measures.similarity import hsic, linear_cka

__all__ = [
    "PatchRows",
    "RowProducts",
    "Windows",
    "attention_distance",
    "attention_entropy",
    "attention_entropy_normalised",
    "check_policy",
    "head_kl",
    "hsic",
    "linear_cka",
    "patch_rows",
    "row_products",
]
