"""Effective receptive field: which pixels the middle of a feature map is made of.

What belongs here: the order of a measurement with gradients. What does not: one model's gradients
and table (`field`), and what is computed from them (`measures.receptive`, with the definition).

It needs the gradient of a feature with respect to the input, and so cannot run in the loop of
`probe`. A batch keeps the activations of all its images: choose it small for large inputs.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from mimprobe.data.images import open_images
from mimprobe.errors import ImageError, OptionError, UnknownNameError
from mimprobe.experiments.field import Field
from mimprobe.loop.batches import batch_numbers, batches
from mimprobe.loop.manifest import describe_run
from mimprobe.loop.run import Images, Models
from mimprobe.measures.receptive import PARTS
from mimprobe.models.device import exact_pass, frozen, placed, resolve_device
from mimprobe.models.sites import layout
from mimprobe.progress import Progress
from mimprobe.tables import Result, join_per_image
from mimprobe.zoo.lineup import line_up

DEFINITION = (
    "gradient of the sum over channels of relu(features) at the middle place of the layer's map, "
    "with respect to the network's input; the {part} part of it, summed over colours, divided by "
    "its sum in each image, and averaged over images. Squares are centred on that place and may "
    "reach over the rim of the image."
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
        for batch in batches(
            image_set, lineup, batch_numbers(len(image_set), batch_size), workers=0
        ):
            ids = [image_set.ids[number] for number in batch.numbers]
            for field in fields if ids else ():
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
