"""Mutual information of query and key position, by head."""

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.information import key_mass, normalised_information
from mimprobe.measures.patches import check_policy


class AttentionNmi(PerImageAnalyzer):
    """How much of where a head looks depends on the query."""

    name = "attention_nmi"
    units = {"attention_nmi": "1"}  # noqa: RUF012
    definition = (
        "mean over images of I(q; k) / sqrt(H(q) H(k)), the mutual information of query and key "
        "position: uniform over the patch queries that were kept, H(k) the entropy of the mean "
        "row, I = H(k) - mean_q H(A[q]); in windowed models every window has keys of its own"
    )

    def __init__(self, *, prefix: str = "renormalise") -> None:
        """Choose what happens to the prefix tokens: `renormalise` or `keep`."""
        super().__init__()
        check_policy(self.name, prefix)
        self.prefix = prefix

    def measure(self, view: View) -> Measured:
        """Give the normalised mutual information of each image and head."""
        seen = attention_of(view)
        received = key_mass(seen.rows(self.prefix).attention, seen.geometry.windows)
        return {self.name: normalised_information(seen.products(self.prefix), received)}
