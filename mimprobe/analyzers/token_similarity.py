"""How alike the patch tokens of one image are, by layer."""

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_layer import PerLayerAnalyzer
from mimprobe.analyzers.view import View, features_of
from mimprobe.measures.tokens import token_similarity


class TokenSimilarity(PerLayerAnalyzer):
    """Over-smoothing: whether a layer makes the patches of an image the same."""

    name = "token_similarity"
    units = {"token_similarity": "1"}  # noqa: RUF012
    definition = (
        "mean over images and pairs of different patch tokens of their cosine similarity, in the "
        "output of a block"
    )

    def measure(self, view: View) -> Measured:
        """Give the similarity of each image."""
        return {self.name: token_similarity(features_of(view).wide).unsqueeze(1)}
