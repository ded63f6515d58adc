"""Colour clusters of a set of images, by k-means.

What belongs here: choosing pixels and fitting centres. What does not: files and losses.
"""

import numpy as np
import numpy.typing as npt

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError

MOST_IMAGES = 1024
"""Images that are looked at, chosen at random."""

PIXELS = 2**17
"""Pixels of all of them together."""


def colour_clusters(images: ImageSet, *, clusters: int, seed: int) -> npt.NDArray[np.float64]:
    """Fit centres to colours of the images, red, green and blue between 0 and 1.

    K-means of scikit-learn (Lloyd's, from k-means++), on at most 2^17 pixels of at most 1,024
    images, the same number from each.

    Args:
        images: whose colours count.
        clusters: how many centres.
        seed: of the choice of pixels and of the first centres.

    Returns:
        Shape (cluster, rgb), darkest first.

    Raises:
        OptionError: scikit-learn is missing, or the images have fewer colours than clusters.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise OptionError(
            "target clusters needs scikit-learn, which is not installed: pip install "
            "'mimprobe[train]'"
        ) from error
    generator = np.random.default_rng(seed)
    colours = _colours(images, generator)
    different = len(np.unique(colours, axis=0))
    if different < clusters:
        raise OptionError(
            f"{images.source} shows {different} different colours, fewer than {clusters} clusters; "
            "choose fewer clusters"
        )
    fit = KMeans(clusters, n_init=1, max_iter=100, random_state=int(generator.integers(2**31)))
    centres: npt.NDArray[np.float64] = fit.fit(colours).cluster_centers_
    return centres[np.argsort(centres.sum(axis=1))]


def _colours(images: ImageSet, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw pixels from images, shape (pixel, rgb)."""
    chosen = generator.permutation(len(images))[:MOST_IMAGES]
    each = -(-PIXELS // len(chosen))
    drawn = []
    for index in chosen:
        pixels = np.asarray(images.load(int(index)).convert("RGB")).reshape(-1, 3)
        drawn.append(pixels[generator.permutation(len(pixels))[:each]])
    return np.concatenate(drawn)[:PIXELS] / 255.0
