"""CKA of whole feature maps, from small batches of images.

What belongs here: which images form a batch, and adding batches up. What does not: HSIC of a batch
(`measures.minibatch`).

The batch is part of the definition: the value depends on its size, and a little on which images it
holds. So batches are not those of the pass: batch b holds the images from b * size to
(b + 1) * size - 1, in the order of their indices, whenever they come. A batch's features are kept
until all of its images are there: 4 bytes for each image of it and feature, at most two batches
while the images come in their order. A batch with fewer than 4 images is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.measures.minibatch import hsic_pairs
from mimprobe.measures.similarity import LEAST_IMAGES, cka_from_hsic
from mimprobe.shapes import Pooled
from mimprobe.stream.images import SeenImages
from mimprobe.stream.sites import CkaMatrix

BATCH = 64
"""Images of one HSIC estimate, by default."""

Part = tuple[list[int], list[Tensor]]
"""Indices of some images of one batch, and their features in the order of the sites."""


class CkaBatches:
    """Sums of minibatch HSIC; equal bit for bit however the images were split and ordered."""

    def __init__(self, sites: tuple[str, ...], images: int, *, batch: int = BATCH) -> None:
        """Prepare for images with indices below `images`.

        Raises:
            OptionError: a batch of fewer than 4 images.
        """
        if batch < LEAST_IMAGES:
            raise OptionError(f"a batch of {batch} images; HSIC needs at least {LEAST_IMAGES}")
        self.sites, self.images, self.batch = sites, images, batch
        self._seen = SeenImages()
        self._waiting: dict[int, list[Part]] = {}
        self._hsic: dict[int, Float64[Tensor, "site other_site"]] = {}
        self._counts: dict[int, int] = {}

    def add(self, images: Sequence[int], features: Mapping[str, Pooled]) -> None:
        """Take the flattened features of some images, for every site.

        Raises:
            OptionError: other sites or numbers of images, or an image added before.
        """
        if features.keys() != set(self.sites):
            raise OptionError(f"features of {sorted(features)}; expected {sorted(self.sites)}")
        parts = [features[site].detach() for site in self.sites]
        if len({len(part) for part in parts}) > 1:
            raise OptionError(f"features of {[len(part) for part in parts]} images, by site")
        self._seen.add(images, len(parts[0]))
        for number in dict.fromkeys(image // self.batch for image in images):
            rows = [row for row, image in enumerate(images) if image // self.batch == number]
            own = parts if len(rows) == len(images) else [part[rows] for part in parts]
            self._waiting.setdefault(number, []).append(([images[row] for row in rows], own))
        self._sum_up()

    def merge(self, other: "CkaBatches") -> None:
        """Add all that another accumulator took in, which stays as it is.

        Raises:
            OptionError: it has other sites or batches, or an image that is here too.
        """
        if (other.sites, other.batch) != (self.sites, self.batch):
            raise OptionError("accumulators of other sites or batches cannot be merged")
        self._seen.add(other._seen.indices().tolist(), len(other._seen))
        for number, waiting in other._waiting.items():
            self._waiting.setdefault(number, []).extend(waiting)
        self._hsic |= other._hsic
        self._counts |= other._counts
        self._sum_up()

    def cka(self) -> CkaMatrix:
        """CKA of every pair of sites, with the jackknife over batches.

        Raises:
            OptionError: no batch has 4 images.
        """
        hsic, counts = dict(self._hsic), dict(self._counts)
        for number, waiting in self._waiting.items():
            if _count(waiting) >= LEAST_IMAGES:
                hsic[number], counts[number] = _hsic_of(waiting), _count(waiting)
        if not hsic:
            raise OptionError(
                f"CKA needs a batch of at least {LEAST_IMAGES} images, got {len(self._seen)} images"
            )
        values = torch.stack([hsic[number] for number in sorted(hsic)])
        used = sum(counts.values())
        return CkaMatrix(
            self.sites,
            cka_from_hsic(values.sum(0)),
            _jackknife(values),
            used,
            "one batch is too few for a jackknife" if len(values) == 1 else "",
        )

    @property
    def left_out(self) -> int:
        """Count the images in batches that have too few, so far."""
        counts = map(_count, self._waiting.values())
        return sum(count for count in counts if count < LEAST_IMAGES)

    def state(self) -> dict[str, Any]:
        """Give all that is remembered, as `restore` takes it."""
        return {
            "images": self._seen.indices(),
            "waiting": {
                number: [(images, [site.cpu() for site in sites]) for images, sites in waiting]
                for number, waiting in self._waiting.items()
            },
            "hsic": dict(self._hsic),
            "counts": dict(self._counts),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what another accumulator of the same sites and batches gave as its state."""
        self._seen = SeenImages()
        self._seen.add(state["images"].tolist(), len(state["images"]))
        self._waiting = {number: list(parts) for number, parts in state["waiting"].items()}
        self._hsic, self._counts = dict(state["hsic"]), dict(state["counts"])

    def _sum_up(self) -> None:
        """Reduce the batches that are whole."""
        for number, waiting in list(self._waiting.items()):
            whole = min(self.batch, self.images - number * self.batch)
            if _count(waiting) == whole >= LEAST_IMAGES:
                self._hsic[number], self._counts[number] = _hsic_of(waiting), whole
                del self._waiting[number]


def _count(waiting: Sequence[Part]) -> int:
    return sum(len(images) for images, _ in waiting)


def _hsic_of(waiting: Sequence[Part]) -> Float64[Tensor, "site other_site"]:
    """HSIC of all pairs of sites, from the images in the order of their indices."""
    images = [image for part, _ in waiting for image in part]
    order = sorted(range(len(images)), key=images.__getitem__)
    place = waiting[-1][1][0].device  # parts of a restored state lie on the CPU
    features = []
    for parts in zip(*(sites for _, sites in waiting), strict=True):
        joined = parts[0] if len(parts) == 1 else torch.cat([part.to(place) for part in parts])
        features.append(joined if images == sorted(images) else joined[order])
    return hsic_pairs(features).cpu()


def _jackknife(
    values: Float64[Tensor, "batch site other_site"],
) -> Float64[Tensor, "site other_site"]:
    """Delete-one-batch standard error: sqrt((B - 1) / B * sum of squared deviations)."""
    batches = len(values)
    if batches == 1:
        return torch.full_like(values[0], torch.nan)
    total = values.sum(0)
    left = torch.stack([cka_from_hsic(total - one) for one in values])
    return ((left - left.mean(0)).square().sum(0) * (batches - 1) / batches).sqrt()
