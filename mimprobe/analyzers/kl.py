"""Kullback-Leibler divergence between the heads of a layer, by head."""

import torch

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.patches import check_policy


class HeadKL(PerImageAnalyzer):
    """How differently the heads of one layer look."""

    name = "head_kl"
    units = {"head_kl": "nats"}  # noqa: RUF012
    definition = (
        "mean over images, patch queries and the other heads j of KL(A_i || A_j) = "
        "sum_k A_i log(A_i / A_j); the layer mean is the mean over all ordered pairs of heads"
    )

    def __init__(self, *, prefix: str = "renormalise") -> None:
        """Choose what happens to the prefix tokens: `renormalise` or `keep`."""
        super().__init__()
        check_policy(self.name, prefix)
        self.prefix = prefix

    def measure(self, view: View) -> Measured:
        """Give the mean divergence from each head to the others; NaN where there is none.

        A head of which no row was kept has no divergence, and counts for no other head.
        """
        pairs = attention_of(view).products(self.prefix).head_kl()
        itself = torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)
        return {self.name: pairs.masked_fill(itself, torch.nan).nanmean(-1)}
