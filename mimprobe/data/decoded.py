"""Images that were decoded once and are kept in memory.

What belongs here: where each image lies, and a way to load image i. What does not: which images are
worth the memory (`train.memory`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mimprobe.data.items import ImageItems
from mimprobe.data.sources import Source


@dataclass(frozen=True, eq=False, repr=False)
class DecodedImages:
    """Decoded images, one after another; their origin still names them.

    Attributes:
        origin: where they come from.
        pixels: red, green and blue of all pixels, row by row.
        firsts: where each image starts in `pixels`.
        sizes: height and width of each image.
    """

    origin: Source | ImageItems
    pixels: UInt8[Tensor, " byte"]
    firsts: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.firsts)

    @property
    def title(self) -> str:
        """Where they come from, for people."""
        return self.origin.title

    @property
    def ids(self) -> tuple[str, ...]:
        """The origin's names."""
        return self.origin.ids

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The origin's classes."""
        return self.origin.labels

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The origin's."""
        return self.origin.fingerprints

    def load(self, number: int) -> Image.Image:
        """Give image `number` as decoding gave it."""
        first, (height, width) = self.firsts[number], self.sizes[number]
        pixels = self.pixels[first : first + height * width * 3].view(height, width, 3)
        return Image.fromarray(pixels.numpy())

    def take(self, numbers: Sequence[int]) -> "DecodedImages":
        """Keep only these images, without freeing memory."""
        return replace(
            self,
            origin=self.origin.take(numbers),
            firsts=tuple(self.firsts[number] for number in numbers),
            sizes=tuple(self.sizes[number] for number in numbers),
        )

    def stacked(self) -> UInt8[Tensor, "image height width rgb"] | None:
        """Give all images as one tensor if they are of one size; it shares their memory."""
        height, width = self.sizes[0]
        step = height * width * 3
        in_order = self.firsts == tuple(range(0, step * len(self), step))
        if set(self.sizes) != {(height, width)} or not in_order:
            return None
        return self.pixels[: step * len(self)].view(-1, height, width, 3)
