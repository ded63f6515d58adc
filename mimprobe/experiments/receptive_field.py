"""Effective receptive field: which pixels the middle of a feature map is made of.

What belongs here: the pass with gradients and its table. What does not: what is computed from the
gradient (`measures.receptive`, where the definition stands).

It needs the gradient of a feature with respect to the input, and so cannot run in the loop of
`probe`. A batch keeps the activations of all its images: choose it small for large inputs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError, NonFiniteError, OptionError, UnknownNameError
from mimprobe.hooks import capture
from mimprobe.loop.batches import batches
from mimprobe.loop.manifest import describe_run
from mimprobe.loop.run import Images, Models
from mimprobe.measures.receptive import (
    PARTS,
    contribution,
    side_error,
    square_shares,
    square_side,
)
from mimprobe.models.device import exact_pass, frozen, placed, resolve_device
from mimprobe.models.geometry import Geometry
from mimprobe.models.sites import Layout, Site, layout
from mimprobe.progress import Progress
from mimprobe.tables import PIXEL_COLUMNS, Result, join_per_image
from mimprobe.zoo.lineup import line_up
from mimprobe.zoo.loaded import LoadedModel

SHARES = (0.2, 0.3, 0.5, 0.99)
"""Parts of the contribution whose squares are given: those of RepLKNet's table 9."""

DEFINITION = (
    "gradient of the sum over channels of relu(features) at the middle place of the layer's map, "
    "with respect to the network's input; the {part} part of it, summed over colours, divided by "
    "its sum in each image, and averaged over images. Squares are centred on that place and may reach over "
    "the image's rim."
)


def receptive_field(
    models: Models,
    images: Images,
    *,
    layer: int | None = None,
    part: str = "positive",
    transform: Callable[[Image.Image], Tensor] | None = None,
    kinds: Mapping[str, str] | None = None,
    batch_size: int = 8,
    device: str | torch.device = "auto",
    seed: int = 0,
    limit: int | None = None,
    skip_bad_images: bool = False,
    command: str = "mimprobe.receptive_field(...)",
) -> Result:
    """Measure how much each pixel contributes to the middle of a layer's feature map.

    Args:
        models: as in `probe`; networks of any known family.
        images: what to show them.
        layer: whose output is looked at, counted from 0; the last by default.
        part: of the gradient, `positive` or `absolute`.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        kinds: how each model was trained, by name.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of the choice of images under `limit`, of the bootstrap, and of untrained networks.
        limit: show at most so many images, drawn at random.
        skip_bad_images: skip and record unreadable images instead of stopping.
        command: what the manifest says was run.

    Returns:
        One table `receptive_field` with the columns `tables.PIXEL_COLUMNS`: rows of metric
        `contribution` are a map that sums to one, rows of `square_side` the squares' sides in px.

    Raises:
        OptionError: a layer that a model does not have.
        UnknownNameError: a model, part or device that does not exist.
        NonFiniteError: a gradient holds NaN or infinity.
    """
    if part not in PARTS:
        raise UnknownNameError("part of the gradient", part, PARTS)
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, not {batch_size}")
    started, place = time.monotonic(), resolve_device(device)
    image_set = open_images(images, limit=limit, seed=seed, skip_bad_images=skip_bad_images)
    lineup = line_up(models, transform=transform, kinds=kinds or {}, device=place, seed=seed)
    places = {model.name: layout(model.module) for model in lineup}
    fields = [Field(model, places[model.name], layer, part) for model in lineup]
    with ExitStack() as stack:
        for model in lineup:
            stack.enter_context(placed(model.module, place))
            stack.enter_context(frozen(model.module))
        stack.enter_context(exact_pass(place, "float32", gradients=True))
        bar = stack.enter_context(Progress("receptive", len(image_set), unit="images"))
        for batch in batches(image_set, lineup, batch_size=batch_size, workers=0):
            for field in fields:
                ids = [image_set.ids[number] for number in batch.numbers]
                field.add(batch.pixels[field.model.name].to(place), ids)
            bar.advance(batch.taken)
    if len(image_set) == len(image_set.skipped):
        raise ImageError(f"none of the {len(image_set)} images of {image_set.source} is readable")
    table = pd.concat([field.table(seed) for field in fields], ignore_index=True)
    circumstances = {
        "command": command, "seed": seed, "precision": "float32", "device": str(place),
        "batch_size": batch_size, "seconds": round(time.monotonic() - started, 3), "notes": [],
    }  # fmt: skip
    manifest = describe_run(lineup, places, image_set, [], circumstances)
    manifest["analyzers"] = {"receptive_field": describe(part)}
    return Result({"receptive_field": table}, manifest, join_per_image([]))


def describe(part: str) -> dict[str, Any]:
    """Definition and units, for the manifest."""
    units = {"contribution": "1", "square_side": "px"}
    return {"definition": DEFINITION.format(part=part), "units": units, "part": part}


class Field:
    """The receptive field of one model: sums over its images, and a curve for each of them."""

    def __init__(self, model: LoadedModel, places: Layout, layer: int | None, part: str) -> None:
        """Choose the layer.

        Raises:
            OptionError: the model has no such layer.
        """
        depth = len(places.feature_sites)
        if layer is not None and not 0 <= layer < depth:
            raise OptionError(
                f"model {model.name!r} has {depth} layers, so there is no layer {layer + 1}; "
                f"choose 1 to {depth} (in Python 0 to {depth - 1})"
            )
        self.model, self.places, self.part = model, places, part
        self.site: Site = places[places.feature_sites[-1 if layer is None else layer]]
        self.sums = torch.zeros((), dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)
        self.curves: list[Tensor] = []
        self.sides = torch.zeros(0)
        self.middle = (0.0, 0.0)

    def add(self, pixels: Tensor, ids: Sequence[str]) -> None:
        """Show a batch to the network and remember each image's contribution.

        Raises:
            NonFiniteError: a gradient holds NaN or infinity.
        """
        gradient, geometry = self._gradient(pixels)
        finite = gradient.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            raise NonFiniteError(
                f"model {self.model.name!r} gave NaN or infinity in the gradient of "
                f"{self.site.name} on image {ids[int(finite.int().argmin())]!r}"
            )
        shares = contribution(gradient, self.part)
        shares = shares[~shares.isnan().flatten(1).any(1)].cpu()  # of images with any gradient
        self.middle = middle(geometry, self.places)
        curves, self.sides = square_shares(shares, self.middle)
        self.curves.append(curves)
        self.sums = self.sums + shares.sum(0)
        self.squares = self.squares + shares.square().sum(0)

    def _gradient(self, pixels: Tensor) -> tuple[Tensor, Geometry]:
        pixels = pixels.clone().requires_grad_()
        name = self.site.name
        with capture(self.model.module, [name], gradients=True) as captured:
            self.model.module(pixels)
            seen = captured[name]
            row, column = (side // 2 for side in seen.geometry.grid)
            token = seen.geometry.prefix_tokens + row * seen.geometry.grid[1] + column
            features = torch.relu(seen.tokens[:, token]).sum()
            captured.clear()
            (gradient,) = torch.autograd.grad(features, pixels)
        return gradient, seen.geometry

    def table(self, seed: int) -> pd.DataFrame:
        """Give the map's rows, then a row for each square."""
        curves = torch.cat(self.curves)
        n = len(curves)
        mean = self.sums / n
        spread = (self.squares - n * mean.square()).clamp_min(0)
        std = (spread / (n - 1)).sqrt() if n > 1 else torch.full_like(mean, torch.nan)
        rows, columns = np.indices(mean.shape, dtype=float)
        pixels = pd.DataFrame(
            {
                "row": rows.ravel(), "column": columns.ravel(), "share": np.nan,
                "metric": "contribution", "unit": "1", "value": mean.flatten().numpy(),
                "std": std.flatten().numpy(), "se": std.flatten().numpy() / np.sqrt(n or 1),
            }
        )  # fmt: skip
        squares = pd.DataFrame(
            {
                "row": self.middle[0], "column": self.middle[1], "share": SHARES,
                "metric": "square_side", "unit": "px",
                "value": [self._side(curves, share) for share in SHARES], "std": np.nan,
                "se": [side_error(curves, self.sides, share, seed=seed) for share in SHARES],
            }
        )  # fmt: skip
        table = pd.concat([pixels, squares], ignore_index=True)
        table["model"], table["kind"] = self.model.name, self.model.kind
        table["site"], table["layer"] = self.site.name, self.site.layer
        table["n"], table["note"] = n, ""
        return table[list(PIXEL_COLUMNS)]

    def _side(self, curves: Tensor, share: float) -> float:
        if not len(curves):
            return float("nan")
        return float(square_side(curves.mean(0), self.sides, share))


def middle(geometry: Geometry, places: Layout) -> tuple[float, float]:
    """Give row and column, in pixels, over which the middle place of the map stands.

    Patches stand over their middle. Place i of a ResNet stands over pixel i * stride, since all its
    convolutions have odd sides and are padded alike on both.
    """
    indices = [side // 2 for side in geometry.grid]
    if places.reading.patch is None:
        row, column = (index * step for index, step in zip(indices, geometry.stride, strict=True))
        return float(row), float(column)
    row_px, column_px = (
        (index + 0.5) * step - 0.5 for index, step in zip(indices, geometry.stride, strict=True)
    )
    return row_px, column_px
