"""Averaged attention distance, by head."""

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.view import View, attention_of
from mimprobe.measures.attention import attention_distance
from mimprobe.measures.patches import check_policy
from mimprobe.models.geometry import uniform_distance


class AttentionDistance(PerImageAnalyzer):
    """How far heads look, in pixels of the network's input and against uniform attention."""

    name = "attention_distance"
    units = {"attention_distance": "px", "attention_distance_normalised": "1"}  # noqa: RUF012
    definition = (
        "mean over images and patch queries of sum_k A[q,k] * |p_q - p_k|, the Euclidean distance "
        "between patch centres weighted by the attention probability; normalised: divided by the "
        "distance of uniform attention over the same valid keys"
    )

    def __init__(self, *, prefix: str = "renormalise") -> None:
        """Choose what happens to the prefix tokens: `renormalise` or `drop`."""
        super().__init__()
        check_policy(self.name, prefix)
        self.prefix = prefix

    def measure(self, view: View) -> Measured:
        """Give both distances of each image and head."""
        seen = attention_of(view)
        distance = attention_distance(seen.rows(self.prefix).attention, seen.distances)
        return {
            "attention_distance": distance,
            "attention_distance_normalised": distance / uniform_distance(seen.geometry),
        }
