"""Batches of images, prepared for every model of a comparison at once.

What belongs here: decoding, preparing, and putting images together, here or in worker processes.
What does not: which batches a process takes (`run`), and how many workers (`workers`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mimprobe.data.images import ImageSet
from mimprobe.errors import ImageError, MimprobeError, OptionError
from mimprobe.zoo.loaded import LoadedModel


class Batch(NamedTuple):
    """Some images, in order; none where all of them were skipped.

    Attributes:
        numbers: of the images in their set.
        taken: images that were read for the batch, skipped ones included.
        pixels: the images as each model wants them, by the model's name.
    """

    numbers: list[int]
    taken: int
    pixels: dict[str, Tensor]

    def part(self, start: int, most: int) -> "Batch":
        """Give at most so many of the images, from `start` on."""
        own = slice(start, start + most)
        pixels = {name: images[own] for name, images in self.pixels.items()}
        return Batch(self.numbers[own], len(self.numbers[own]), pixels)


def batch_numbers(images: int, batch_size: int) -> list[range]:
    """Cut the numbers of the images of a set into batches."""
    return [range(start, min(start + batch_size, images)) for start in range(0, images, batch_size)]


def batches(
    images: ImageSet,
    lineup: Sequence[LoadedModel],
    numbers: Sequence[range],
    *,
    workers: int,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Decode each image once and prepare it for each model, in batches of these numbers.

    `pinned` puts the pixels into memory from which a GPU copies while it computes.

    Raises:
        ImageError: an image is unreadable and the set does not skip such images.
        OptionError: a model's transform gives no (3, height, width) tensor, or tensors of several
            sizes.
    """
    samples = _Samples(images, lineup)
    loader = DataLoader(
        samples, batch_sampler=[list(batch) for batch in numbers], collate_fn=samples.joined,
        num_workers=workers, pin_memory=pinned,
    )  # fmt: skip
    for found in loader:
        for number, error in found.errors:
            if not isinstance(error, ImageError):
                raise error
            images.skip(number, error)  # raises unless bad images are skipped
        taken = len(found.numbers) + len(found.errors)
        pixels = {
            name: prepared
            for (_, names), prepared in zip(samples.users, found.pixels, strict=False)
            for name in names
        }
        yield Batch(found.numbers, taken, pixels)


class _Joined(NamedTuple):
    """A batch on its way out of a worker process, where raised errors would become many lines.

    Pixels are by preprocessing; there are none where no image was readable.
    """

    numbers: list[int]
    errors: list[tuple[int, MimprobeError]]
    pixels: list[Tensor]


Sample = list[Tensor] | MimprobeError
"""An image in each preprocessing, or why it cannot be read or prepared."""


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
            return number, [_prepared(transform, names, image) for transform, names in self.users]
        except MimprobeError as error:
            return number, error

    def joined(self, samples: list[tuple[int, Sample]]) -> _Joined:
        """Put the good images of a batch together."""
        errors = [(number, found) for number, found in samples if isinstance(found, MimprobeError)]
        good = [(number, found) for number, found in samples if isinstance(found, list)]
        columns = list(zip(*(found for _, found in good), strict=True))
        for (_, names), column in zip(self.users, columns, strict=False):
            shapes = list(dict.fromkeys(tuple(pixels.shape) for pixels in column))
            if len(shapes) > 1:
                told = f"{shapes[0]} and {shapes[1]}; it must give one size"
                mixed = OptionError(f"the transform of model {names[0]!r} gave sizes {told}")
                return _Joined([], [(good[0][0], mixed)], [])
        pixels = [torch.stack(column) for column in columns]
        return _Joined([number for number, _ in good], errors, pixels)


def _prepared(
    transform: Callable[[Image.Image], Tensor], names: Sequence[str], image: Image.Image
) -> Tensor:
    pixels = transform(image)
    if not isinstance(pixels, Tensor) or pixels.ndim != 3:
        raise OptionError(
            f"the transform of model {names[0]!r} gave {type(pixels).__name__} of shape "
            f"{tuple(getattr(pixels, 'shape', ()))}; it must give a (3, height, width) "
            "tensor for one PIL image"
        )
    return pixels
