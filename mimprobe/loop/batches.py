"""Batches of images, prepared for every model of a comparison at once."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError, OptionError
from mimprobe.zoo.loaded import LoadedModel


class Batch(NamedTuple):
    """Some images, in order.

    Attributes:
        numbers: of the images in their set.
        taken: images that were read for the batch, skipped ones included.
        pixels: the images as each model wants them, by the model's name.
    """

    numbers: list[int]
    taken: int
    pixels: dict[str, Tensor]


def batches(
    images: ImageSet, lineup: Sequence[LoadedModel], *, batch_size: int, workers: int
) -> Iterator[Batch]:
    """Decode each image once and prepare it for each model, in the order of the set.

    Raises:
        ImageError: an image is unreadable and the set does not skip such images.
        OptionError: a model's transform gives no (3, height, width) tensor.
    """
    loader = DataLoader(
        _Samples(images, lineup), batch_size=batch_size, num_workers=workers, collate_fn=list
    )
    for samples in loader:
        good = []
        for number, sample in samples:
            if isinstance(sample, ImageError):
                images.skip(number, sample)  # raises unless bad images are skipped
            else:
                good.append((number, sample))
        if good:
            pixels = {
                model.name: torch.stack([sample[model.name] for _, sample in good])
                for model in lineup
            }
            yield Batch([number for number, _ in good], len(samples), pixels)


Sample = dict[str, Tensor] | ImageError
"""An image as each model wants it, or why it cannot be read; raised errors would be wrapped in
many lines on their way out of a worker process."""


class _Samples(Dataset[tuple[int, Sample]]):
    """Number and prepared pixels of each image; equal preprocessings are done once."""

    def __init__(self, images: ImageSet, lineup: Sequence[LoadedModel]) -> None:
        self.images = images
        self.users: list[tuple[Callable[[Image.Image], Tensor], list[str]]] = []
        shared: dict[object, list[str]] = {}
        for model in lineup:
            key = model.preprocessing or model.custom_transform
            if key not in shared:
                shared[key] = []
                self.users.append((model.transform, shared[key]))
            shared[key].append(model.name)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[int, Sample]:
        try:
            image = self.images.load(number)
        except ImageError as error:
            return number, error
        prepared = {}
        for transform, names in self.users:
            pixels = transform(image)
            if not isinstance(pixels, Tensor) or pixels.ndim != 3:
                raise OptionError(
                    f"the transform of model {names[0]!r} gave {type(pixels).__name__} of shape "
                    f"{tuple(getattr(pixels, 'shape', ()))}; it must give a (3, height, width) "
                    "tensor for one PIL image"
                )
            prepared.update(dict.fromkeys(names, pixels))
        return number, prepared
