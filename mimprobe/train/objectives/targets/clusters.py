"""Colour clusters as the target: one classification for each pixel, as in iGPT.

What belongs here: the target and its file in the run's folder. What does not: the fit (`palette`).
"""

import json
from pathlib import Path

import torch
from torch import nn

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError, OutputError
from mimprobe.shapes import ColourCentres, Images, PixelErrors, Predictions, TargetClasses
from mimprobe.tables import write_text
from mimprobe.train.config import TrainConfig
from mimprobe.train.objectives.targets.colours import coarser, colours_of, finer, normalised
from mimprobe.train.objectives.targets.palette import colour_clusters

FILE = "clusters.json"
"""Centres of the clusters, in the run's folder."""


class Clusters(nn.Module):
    """The nearest of the centres that k-means finds in the training images.

    The loss is the cross-entropy in nats. Source: Chen et al. 2020, Generative pretraining from
    pixels, with 512 clusters.
    """

    centres: ColourCentres

    def __init__(self, config: TrainConfig) -> None:
        """Take resolution and number of clusters; the centres are not known before `learn`."""
        super().__init__()
        self.scale, self.seed = config.target_scale, config.seed
        self.outputs = config.clusters
        self.register_buffer("centres", torch.full((config.clusters, 3), torch.nan))
        self._known = False

    def learn(self, images: ImageSet, directory: Path) -> None:
        """Fit the centres to the images and store them with the run, or read them there.

        Raises:
            OutputError: the stored centres are damaged.
        """
        path = directory / FILE
        if not path.is_file():
            found = colour_clusters(images, clusters=self.outputs, seed=self.seed)
            write_text(path, json.dumps({"centres": found.tolist()}) + "\n")
        try:
            stored = torch.tensor(json.loads(path.read_text(encoding="utf-8"))["centres"])
            self.centres.copy_(stored.reshape(self.centres.shape))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise OutputError(
                f"{path} is damaged; delete it to fit the colour clusters again"
            ) from error

    def classes(self, images: Images) -> TargetClasses:
        """Give the number of the nearest centre by Euclidean distance of colours from 0 to 1."""
        self._require_centres()
        colours = coarser(colours_of(images), self.scale)
        centres = self.centres.to(colours.dtype)
        # Image by image: the distances are as many as pixels times clusters.
        found = [torch.cdist(one.flatten(1).mT, centres).argmin(1) for one in colours]
        return torch.stack(found).view(len(colours), *colours.shape[2:])

    def errors(self, predicted: Predictions, images: Images) -> PixelErrors:
        """Give the cross-entropy of every pixel of the target."""
        return nn.functional.cross_entropy(predicted, self.classes(images), reduction="none")

    def picture(self, predicted: Predictions, images: Images) -> Images:  # noqa: ARG002
        """Give the centre of the likeliest cluster of every pixel."""
        self._require_centres()
        colours = self.centres.to(predicted.dtype)[predicted.argmax(1)]
        return normalised(finer(colours.permute(0, 3, 1, 2), self.scale))

    def _require_centres(self) -> None:
        """Look once, since it waits for the device.

        Raises:
            OptionError: neither fitted nor loaded.
        """
        if not self._known and not bool(self.centres.isfinite().all()):
            raise OptionError("the colour clusters are not fitted; call learn with the images")
        self._known = True
