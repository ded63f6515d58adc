"""How large the features of a layer are, and how much the largest stands out."""

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_layer import PerLayerAnalyzer
from mimprobe.analyzers.view import View, features_of
from mimprobe.measures.tokens import activation_ratio, feature_norm


class FeatureNorm(PerLayerAnalyzer):
    """Length of tokens, and massive activations."""

    name = "feature_norm"
    units = {"feature_norm": "1", "activation_ratio": "1"}  # noqa: RUF012
    definition = (
        "norm: mean over images and patch tokens of their Euclidean length, in the output of a "
        "block; ratio: largest over median absolute activation of an image, of all its tokens and "
        "channels, mean over images"
    )

    def measure(self, view: View) -> Measured:
        """Give the norm and the ratio of each image; no ratio where the median is zero."""
        seen = features_of(view)
        return {
            "feature_norm": feature_norm(seen.wide).unsqueeze(1),
            "activation_ratio": activation_ratio(seen.tokens).unsqueeze(1),
        }
