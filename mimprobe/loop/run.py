"""The measurement itself, top to bottom."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mimprobe.analyzers import Analyzer, make_analyzers
from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.analyzers.view import views
from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError, NonFiniteError, OptionError
from mimprobe.hooks import Observation, capture
from mimprobe.loop.batches import batches
from mimprobe.loop.manifest import describe_run
from mimprobe.measures.similarity import LEAST_IMAGES
from mimprobe.models.convolutions import depthwise_convolutions
from mimprobe.models.device import exact_pass, placed, resolve_device
from mimprobe.models.sites import Layout, layout
from mimprobe.progress import Progress
from mimprobe.tables import Result, join_per_image
from mimprobe.zoo.lineup import line_up
from mimprobe.zoo.loaded import LoadedModel

Models = (
    str
    | os.PathLike[str]
    | LoadedModel
    | nn.Module
    | Sequence[str | os.PathLike[str] | LoadedModel]
    | Mapping[str, str | os.PathLike[str] | LoadedModel | nn.Module]
)
"""One or more models: references, loaded models, or a dict of names to any of them or modules."""

Images = str | os.PathLike[str] | ImageSet | Sequence[Any]
"""A folder, paths, PIL images, a data set of (image, id), or an opened image set."""


def probe(
    models: Models,
    images: Images,
    *,
    analyzers: Sequence[str | Analyzer] | None = None,
    transform: Callable[[Image.Image], Tensor] | None = None,
    kinds: Mapping[str, str] | None = None,
    batch_size: int = 32,
    device: str | torch.device = "auto",
    precision: str = "float32",
    seed: int = 0,
    limit: int | None = None,
    skip_bad_images: bool = False,
    workers: int = 0,
    command: str = "mimprobe.probe(...)",
) -> Result:
    """Measure how networks look at images: every analyzer is fed by one forward pass per batch.

    Args:
        models: what to compare; each gets its own preprocessing, on the same images in the same
            order.
        images: what to show them.
        analyzers: names out of `ANALYZERS`, or analyzers with settings of their own; all by
            default.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        kinds: how each model was trained, by name, where its card does not say: `mim`,
            `contrastive`, `supervised`, `distilled`, `untrained`.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `float32` (TensorFloat-32 off), `bfloat16` or `float16` (autocast).
        seed: of the choice of images under `limit`, and of untrained networks.
        limit: show at most so many images, drawn at random.
        skip_bad_images: skip and record unreadable images instead of stopping.
        workers: processes that decode images; 0 decodes in this one.
        command: what the manifest says was run.

    Returns:
        Tables by analyzer name, the values of every image, and a manifest of the circumstances.

    Raises:
        UnknownNameError: a model, analyzer or device that does not exist.
        ImageError: no images, or an unreadable one.
        SiteError: a network of no known family.
        NonFiniteError: a network gave NaN or infinity; says which, in which layer, on which image.
    """
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, not {batch_size}")
    started = time.monotonic()
    place = resolve_device(device)
    tools = make_analyzers(analyzers)
    image_set = open_images(images, limit=limit, seed=seed, skip_bad_images=skip_bad_images)
    notes = []
    if analyzers is None and len(image_set) < LEAST_IMAGES:
        tools = [tool for tool in tools if tool.name != "cka"]
        notes.append(f"CKA is left out: it needs {LEAST_IMAGES} images, here are {len(image_set)}.")
    lineup = line_up(models, transform=transform, kinds=kinds or {}, device=place, seed=seed)
    places = {model.name: layout(model.module) for model in lineup}
    for tool in tools:
        tool.begin(places, len(image_set))
    if analyzers is None and not any(map(depthwise_convolutions, places.values())):
        tools = [tool for tool in tools if tool.name != "kernels"]  # nobody asked, nothing to say
    passes = {model.name: Passes(model, places[model.name], tools) for model in lineup}
    with ExitStack() as stack:
        # Moved before the pass: tensors moved in inference mode could never be trained again.
        for model in lineup:
            stack.enter_context(placed(model.module, place))
        stack.enter_context(exact_pass(place, precision))
        bar = stack.enter_context(Progress("probe", len(image_set), unit="images"))
        for batch in batches(image_set, lineup, batch_size=batch_size, workers=workers):
            ids = [image_set.ids[number] for number in batch.numbers]
            measured = {
                name: one.run(batch.pixels[name].to(place, non_blocking=True), ids)
                for name, one in passes.items()
            }
            for tool in tools:
                tool.add(
                    batch.numbers,
                    {name: found.get(tool.name, {}) for name, found in measured.items()},
                )
            bar.advance(batch.taken)
    if len(image_set) == len(image_set.skipped):
        raise ImageError(f"none of the {len(image_set)} images of {image_set.source} is readable")
    return _result(
        tools, lineup, places, image_set,
        circumstances={
            "command": command, "seed": seed, "precision": precision, "device": str(place),
            "batch_size": batch_size, "seconds": round(time.monotonic() - started, 3),
            "notes": notes,
        },
    )  # fmt: skip


class Passes:
    """Forward passes of one model, with what each analyzer wants of its sites."""

    def __init__(self, model: LoadedModel, places: Layout, tools: Sequence[Analyzer]) -> None:
        self.model = model
        wanted = [(tool, frozenset(tool.sites(places))) for tool in tools]
        self.takers = {
            site: takers
            for site in places.sites
            if (takers := [tool for tool, sites in wanted if site in sites])
        }

    def run(self, pixels: Tensor, ids: Sequence[str]) -> dict[str, dict[str, Measured]]:
        """Run the network once and give what was measured, by analyzer and site."""
        if not self.takers:
            return {}
        with capture(self.model.module, self.takers, reduce=self._reduce) as captured:
            self.model.module(pixels)
        measured: dict[str, dict[str, Measured]] = {}
        for site in self.takers:
            outcome = captured[site]
            if isinstance(outcome, NonFiniteError):
                raise NonFiniteError(
                    f"model {self.model.name!r} gave NaN or infinity in the {outcome} at {site} on "
                    f"image {ids[outcome.row or 0]!r}; try precision float32, another image, or "
                    "look at its weights"
                )
            for name, values in outcome.items():
                measured.setdefault(name, {})[site] = values
        return measured

    def _reduce(self, seen: Observation) -> dict[str, Measured] | NonFiniteError:
        """Feed one layer to its analyzers, piece by piece, and join the pieces."""
        takers = self.takers[seen.site]
        try:
            pieces = [{tool.name: tool.measure(view) for tool in takers} for view in views(seen)]
        except NonFiniteError as error:
            return error
        return {
            tool.name: {
                metric: torch.cat([piece[tool.name][metric] for piece in pieces])
                for metric in pieces[0][tool.name]
            }
            for tool in takers
        }


def _result(
    tools: Sequence[Analyzer],
    lineup: Sequence[LoadedModel],
    places: Mapping[str, Layout],
    images: ImageSet,
    circumstances: Mapping[str, Any],
) -> Result:
    kinds = {model.name: model.kind for model in lineup}
    tables = {tool.name: tool.table(kinds) for tool in tools}
    values = [tool.per_image(images.ids) for tool in tools if isinstance(tool, PerImageAnalyzer)]
    manifest = describe_run(lineup, places, images, tools, circumstances)
    return Result(tables, manifest, join_per_image(values))
