"""What a masked-image model predicts: one file each, and the dict that names them.

A target is a module with `outputs` (numbers for each of its pixels) and `scale` (pixels of the
input between two of its pixels). `errors` gives the loss of each of its pixels; `picture` turns
predictions into images, for eyes. Colour
clusters first `learn` from the training images.
"""

from mimprobe.train.objectives.targets.bins import Bins
from mimprobe.train.objectives.targets.clusters import Clusters
from mimprobe.train.objectives.targets.pixels import Pixels
from mimprobe.train.objectives.targets.tokens import Tokens

Target = Pixels | Clusters | Bins | Tokens

TARGETS: dict[str, type[Pixels] | type[Clusters] | type[Bins] | type[Tokens]] = {
    "pixels": Pixels,
    "clusters": Clusters,
    "bins": Bins,
    "tokens": Tokens,
}
"""By the name in `TrainConfig.target`."""

__all__ = ["TARGETS", "Clusters", "Target"]
