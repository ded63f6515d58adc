"""Entropy of attention, by head, in nats and as a share of the largest possible."""

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.patches import check_policy


class AttentionEntropy(PerImageAnalyzer):
    """How broadly heads look."""

    name = "attention_entropy"
    units = {"attention_entropy": "nats", "attention_entropy_normalised": "1"}  # noqa: RUF012
    definition = (
        "mean over images and patch queries of -sum_k A[q,k] log A[q,k]; normalised: each row "
        "divided by the logarithm of its number of valid keys"
    )

    def __init__(self, *, prefix: str = "renormalise") -> None:
        """Choose what happens to the prefix tokens: `renormalise` or `keep`."""
        super().__init__()
        check_policy(self.name, prefix)
        self.prefix = prefix

    def measure(self, view: View) -> Measured:
        """Give both entropies of each image and head."""
        seen = attention_of(view)
        products = seen.products(self.prefix)
        return {
            "attention_entropy": products.entropy(),
            "attention_entropy_normalised": products.entropy_normalised(
                seen.rows(self.prefix).valid_keys
            ),
        }
