"""Which sites, of which images: what every accumulator of features checks alike, and its result.

What belongs here: the order of sites, their widths, one row per image. What does not: what is done
with the rows (`stream.features`, `stream.sums`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.shapes import Pooled
from mimprobe.stream.images import SeenImages
from mimprobe.stream.state import State


@dataclass(frozen=True)
class CkaMatrix:
    """CKA of every ordered pair of sites, with its standard error.

    `without` has the CKA without each group of images, from which the errors come; it is None where
    there are none, and `note` says why.
    """

    sites: tuple[str, ...]
    value: Float64[Tensor, "site site"]
    se: Float64[Tensor, "site site"]
    images: int
    note: str
    without: Float64[Tensor, "group site site"] | None = None


class SiteRows:
    """Sites in their order and the images seen so far; lays out the sites of an image in a row."""

    def __init__(self, sites: tuple[str, ...]) -> None:
        if not sites or len(set(sites)) != len(sites):
            raise OptionError(f"sites must be at least one and distinct, got {list(sites)}")
        self.sites = sites
        self.seen = SeenImages()
        self.widths: tuple[int, ...] = ()

    def joined(
        self, images: Sequence[int], features: Mapping[str, Pooled]
    ) -> Float32[Tensor, "image column"]:
        """Check one batch and lay its sites side by side, in float32 on the CPU.

        Raises:
            OptionError: other sites, widths or numbers of images, or an image seen before.
        """
        if features.keys() != set(self.sites):
            raise OptionError(f"features of {sorted(features)}; expected {sorted(self.sites)}")
        parts = [features[site].detach().to("cpu", torch.float32) for site in self.sites]
        widths = tuple(part.shape[1] for part in parts)
        self._require_widths(widths)
        if len({len(part) for part in parts}) > 1:
            raise OptionError(f"features of {[len(part) for part in parts]} images, by site")
        self.seen.add(images, len(parts[0]))
        self.widths = widths
        return torch.cat(parts, dim=1)

    def meet(self, other: "SiteRows") -> None:
        """Take in the images of another accumulator.

        Raises:
            OptionError: it has other sites or widths, or an image that was seen here.
        """
        if other.sites != self.sites:
            raise OptionError(f"cannot merge sites {list(other.sites)} into {list(self.sites)}")
        if other.widths:
            self._require_widths(other.widths)
        self.seen.add(other.seen.indices().tolist(), len(other.seen))
        self.widths = self.widths or other.widths

    def state(self) -> State:
        """Give sites, widths and images."""
        return {"sites": self.sites, "widths": self.widths, "seen": self.seen.state()}

    def restore(self, state: State) -> None:
        """Take over a state of the same sites, in the place of what was seen here.

        Raises:
            OptionError: it is of other sites.
        """
        if tuple(state["sites"]) != self.sites:
            raise OptionError(f"cannot restore sites {list(state['sites'])} as {list(self.sites)}")
        self.widths = tuple(state["widths"])
        self.seen.restore(state["seen"])

    def _require_widths(self, widths: tuple[int, ...]) -> None:
        if self.widths and widths != self.widths:
            raise OptionError(f"features of widths {widths} after features of {self.widths}")
