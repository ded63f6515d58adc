"""The last part of a batch's preparation, where the network is.

What belongs here: from what samples are to normalised images on the device. What does not: who
loads samples (`feed`), and what an objective does to a batch.

Images that are in memory, of one size, and only cropped and mirrored, live on a CUDA device: what
is drawn for a sample are six numbers, and the device cuts out the crops itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from mimprobe.data.decoded import DecodedImages
from mimprobe.data.images import ImageSet
from mimprobe.data.transforms import Preprocessing
from mimprobe.shapes import Images
from mimprobe.train.augmentation import augmentation, is_plain, stretch
from mimprobe.train.config import TrainConfig
from mimprobe.train.crops import cropped_batch
from mimprobe.train.samples import CropSamples, Draw, TrainSamples

Samples = TrainSamples | CropSamples


class Finish:
    """Turns the samples of a batch into normalised images on a device."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        device: torch.device,
        resident: UInt8[Tensor, "image height width rgb"] | None = None,
    ) -> None:
        """Expect pixels, or crops of the images that are `resident` on the device."""
        self.device, self.resident, self.size = device, resident, preprocessing.input_size
        self.mean, self.std = (
            torch.tensor(values, device=device).view(3, 1, 1)
            for values in (preprocessing.mean, preprocessing.std)
        )

    def __call__(self, batch: Sequence[Tensor]) -> tuple[Images, Tensor]:
        """Give the images, `(x / 255 - mean) / std`, and what the objective adds."""
        drawn, extra = (part.to(self.device, non_blocking=True) for part in batch)
        if self.resident is None:
            images = drawn.float()
        else:
            images = cropped_batch(self.resident[drawn[:, 0]], drawn[:, 1:], self.size)
        return images.div_(255).sub_(self.mean).div_(self.std), extra


class Prepared(NamedTuple):
    """Samples, and what makes images of them."""

    samples: Samples
    finish: Finish


def samples_of(
    images: ImageSet,
    labels: Sequence[int],
    draw: Draw,
    config: TrainConfig,
    device: torch.device,
    preprocessing: Preprocessing,
) -> Prepared:
    """Choose who crops: the device where it can, else whoever loads the images."""
    stack = images.origin.stacked() if isinstance(images.origin, DecodedImages) else None
    if stack is None or device.type != "cuda" or not is_plain(config):
        augment = augmentation(config, preprocessing)
        samples = TrainSamples(images, labels, augment, draw, seed=config.seed)
        return Prepared(samples, Finish(preprocessing, device))
    crops = CropSamples(
        (stack.shape[1], stack.shape[2]), labels, draw, smallest=config.crop_scale,
        stretch=stretch(preprocessing.input_size), seed=config.seed,
    )  # fmt: skip
    return Prepared(crops, Finish(preprocessing, device, stack.to(device)))
