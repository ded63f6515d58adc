"""Small pictures that say which one they are, and sets of them, for the tests beside this file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError


def level(number: int) -> Image.Image:
    """A picture that says which one it is."""
    return Image.new("RGB", (4, 3), (number, 2 * number, 255 - number))


def fill(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        level(number).save(root / name)
    return root


def numbers(images) -> list[int]:
    return [image.getpixel((0, 0))[0] for image in images]


def message_of(source: object, **options) -> str:
    with pytest.raises(ImageError) as caught:
        open_images(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Pairs(Dataset):
    """A data set of (image, id) that counts how often it is read."""

    def __init__(self, size: int, *, name=lambda number: f"photo {number}") -> None:
        self.size, self.name, self.reads = size, name, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int):
        self.reads += 1
        return level(number), self.name(number)


class Damaged(Pairs):
    """A data set whose second image cannot be read."""

    def __getitem__(self, number: int):
        if number == 1:
            raise OSError("disk is on fire")
        return super().__getitem__(number)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
