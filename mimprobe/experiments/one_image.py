"""One image before one network, for what looks at attention itself.

What belongs here: preparing the image, finding layers and queries that were asked for, the pass.
What does not: which rows of a map are taken (`overlay`, `rollout`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mimprobe.data.images import open_images
from mimprobe.errors import NonFiniteError, OptionError, SiteError, UnknownNameError
from mimprobe.hooks import AttentionSeen, Observation, capture
from mimprobe.models.device import exact_pass, placed, resolve_device
from mimprobe.models.sites import Layout, Site, layout
from mimprobe.tables.heat import HeatMap, Overlay, Query
from mimprobe.zoo.lineup import line_up
from mimprobe.zoo.loaded import LoadedModel

Model = str | os.PathLike[str] | LoadedModel | nn.Module
Picture = str | os.PathLike[str] | Image.Image
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Sitting:
    """One network, and one image that is prepared for it."""

    model: LoadedModel
    places: Layout
    pixels: Tensor
    device: torch.device

    @property
    def depth(self) -> int:
        """Layers up to the last that has attention."""
        return 1 + max(self.places[name].layer for name in self.places.attention_sites)

    def attention_site(self, layer: int) -> Site:
        """Find the attention of a layer.

        Raises:
            OptionError: there is none.
        """
        for name in self.places.attention_sites:
            if self.places[name].layer == layer:
                return self.places[name]
        raise OptionError(
            f"model {self.model.name!r} has no attention in layer {layer + 1}; choose 1 to "
            f"{self.depth} (in Python 0 to {self.depth - 1})"
        )

    def checked_query(self, query: Query) -> Query:
        """Turn `centre` into its patch, and check the others.

        Raises:
            OptionError: a patch outside the grid, or `cls` without a class token.
            UnknownNameError: another word.
        """
        height, width = self.pixels.shape[-2:]
        rows, columns = self.places.reading.grid((height, width))
        if query == "centre":
            return rows // 2, columns // 2
        if query == "cls":
            if not self.places.class_token:
                raise OptionError(
                    f"model {self.model.name!r} has no class token; choose centre or ROW,COL"
                )
            return query
        if isinstance(query, str):
            raise UnknownNameError("query", query, ("centre", "cls", "ROW,COL"))
        if not (0 <= query[0] < rows and 0 <= query[1] < columns):
            raise OptionError(
                f"query {query[0]},{query[1]} lies outside the grid of {rows} x {columns} patches; "
                f"rows go from 0 to {rows - 1}, columns from 0 to {columns - 1}"
            )
        return query

    def observe(self, sites: Sequence[Site], reduce: Callable[[AttentionSeen], T]) -> dict[str, T]:
        """Show the image once, and reduce each layer's map inside the pass.

        Raises:
            NonFiniteError: a map holds NaN or infinity.
        """

        def checked(seen: Observation) -> T:
            assert isinstance(seen, AttentionSeen)
            if not bool(seen.attention.isfinite().all()):
                raise NonFiniteError(
                    f"model {self.model.name!r} gave NaN or infinity in the attention at "
                    f"{seen.site}"
                )
            return reduce(seen)

        module = self.model.module
        with placed(module, self.device), exact_pass(self.device, "float32"):
            with capture(module, [site.name for site in sites], reduce=checked) as captured:
                module(self.pixels.to(self.device))
            return dict(captured)

    def overlay(self, quantity: str, maps: Sequence[HeatMap]) -> Overlay:
        """Put maps over the image as the network saw it."""
        pixels = self.pixels[0].double().numpy().transpose(1, 2, 0)
        usual = self.model.preprocessing
        if usual is None:  # the user's own transform: its scale is not known
            pixels = (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-12)
        else:
            pixels = pixels * np.array(usual.std) + np.array(usual.mean)
        picture = np.clip(pixels, 0, 1).astype(np.float32)
        return Overlay(self.model.name, self.model.kind, quantity, picture, tuple(maps))


def sit(
    model: Model, image: Picture, *, transform: Callable[[Image.Image], Tensor] | None,
    device: str | torch.device, seed: int,
) -> Sitting:  # fmt: skip
    """Load what is not loaded yet, and prepare the image.

    Raises:
        OptionError: there is more than one image.
        SiteError: the network has no attention that can be observed.
    """
    place = resolve_device(device)
    one = open_images([image] if isinstance(image, Image.Image) else image)
    if len(one) != 1:
        raise OptionError(f"an overlay shows one image; {one.source} holds {len(one)}, name one")
    named = {type(model).__name__: model} if isinstance(model, nn.Module) else model
    (loaded,) = line_up(named, transform=transform, kinds={}, device=place, seed=seed)
    places = layout(loaded.module)
    if not places.attention_sites:
        raise SiteError(
            f"model {loaded.name!r} ({places.family}) has no attention that could be laid over an "
            "image; see 'mimprobe receptive' for what its features are made of"
        )
    return Sitting(loaded, places, loaded.transform(one[0]).unsqueeze(0), place)
