"""The measurement itself, top to bottom."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mimprobe.analyzers import Analyzer, make_analyzers
from mimprobe.analyzers.per_image import PerImageAnalyzer
from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import ImageError, OptionError
from mimprobe.loop.batches import batch_numbers
from mimprobe.loop.manifest import describe_run
from mimprobe.loop.processes import Processes, processes
from mimprobe.loop.progress_file import ProgressFile
from mimprobe.loop.saved_file import same_run
from mimprobe.loop.showing import Showing
from mimprobe.loop.tally import Tally
from mimprobe.loop.workers import usual_workers
from mimprobe.models.convolutions import depthwise_convolutions
from mimprobe.models.sites import layout
from mimprobe.tables import Result, holds_progress, join_per_image, remove_progress
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
    settings: Sequence[Analyzer] = (),
    transform: Callable[[Image.Image], Tensor] | None = None,
    kinds: Mapping[str, str] | None = None,
    batch_size: int = 32,
    device: str | torch.device = "auto",
    precision: str = "float32",
    seed: int = 0,
    limit: int | None = None,
    skip_bad_images: bool = False,
    workers: int | None = None,
    progress_in: str | os.PathLike[str] | None = None,
    save_every: float = 60.0,
    resume: bool = False,
    command: str = "mimprobe.probe(...)",
) -> Result:
    """Measure how networks look at images: every analyzer is fed by one forward pass per batch.

    Processes of an initialised `torch.distributed`, or of `torchrun`, share the images: batch b
    goes to process b mod N. All of them return the same result.

    Args:
        models: what to compare; each gets its own preprocessing, on the same images in the same
            order.
        images: what to show them.
        analyzers: names out of `ANALYZERS`, or analyzers with settings of their own; all by
            default.
        settings: analyzers with settings of their own, such as `Cka(tokens="flattened")`, which
            stand in for those of the same name.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        kinds: how each model was trained, by name, where its card does not say: `mim`,
            `contrastive`, `supervised`, `distilled`, `untrained`.
        batch_size: images for each pass, halved where the device has no memory for them; changes
            no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; several processes take one GPU each.
        precision: `float32` (TensorFloat-32 off), `bfloat16` or `float16` (autocast).
            A network whose weights are in half precision runs in that, and its images are rounded
            to it.
        seed: of the choice of images under `limit`, and of untrained networks.
        limit: show at most so many images, drawn at random.
        skip_bad_images: skip and record unreadable images instead of stopping.
        workers: processes that decode images; 0 decodes in this one, None chooses.
        progress_in: folder in which what was measured so far is saved now and then, for `resume`;
            `tables.remove_progress` removes it when the result is safe.
        save_every: seconds between two times of saving; 0 saves after every batch.
        resume: go on with what an interrupted run of the same models, images and settings saved.
        command: what the manifest says was run.

    Returns:
        Tables by analyzer name, the values of every image, and a manifest of the circumstances.

    Raises:
        UnknownNameError: a model, analyzer or device that does not exist.
        ImageError: no images, or an unreadable one.
        SiteError: a network of no known family.
        NonFiniteError: a network gave NaN or infinity; says which, in which layer, on which image.
        DeviceMemoryError: the device is too small for one image.
        OutputError: the progress is damaged, or of another run.
        ElsewhereError: another process of the run failed.
    """
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, not {batch_size}")
    if resume and progress_in is None:
        raise OptionError("resume=True needs progress_in, the folder to resume from")
    with processes() as group:
        place = group.device(device)
        tools = make_analyzers(analyzers, settings)
        notes: list[str] = []
        image_set = open_images(images, limit=limit, seed=seed, skip_bad_images=skip_bad_images)
        if analyzers is None:
            tools, notes = _with_enough(tools, len(image_set))
        lineup = line_up(models, transform=transform, kinds=kinds or {}, device=place, seed=seed)
        places = {model.name: layout(model.module) for model in lineup}
        if analyzers is None and not any(map(depthwise_convolutions, places.values())):
            tools = [tool for tool in tools if tool.name != "kernels"]  # they would have no rows
        tally = Tally(tools, places, image_set, batch_size, notes)
        share = batch_numbers(len(image_set), batch_size)[group.rank :: group.size]
        if workers is None:
            workers = usual_workers(
                len(share), lineup, batch_size, place.type, processes=group.here
            )
        circumstances: dict[str, Any] = {
            "precision": precision, "batch_size": batch_size, "processes": group.size,
        }  # fmt: skip
        progress = None
        if progress_in is not None:
            same = same_run(lineup, image_set, tools, circumstances | {"device": place.type})
            progress = ProgressFile(progress_in, same, group.rank, group.size, every=save_every)
            _begin(progress, tally, group, resume=resume)
        Showing(lineup, tally, place, precision).show(
            share, group, workers=workers, progress=progress
        )
        for state in group.gather(tally.state):
            tally.merge(state)
        circumstances |= {
            "command": command, "seed": seed, "device": str(place), "workers": workers,
        }  # fmt: skip
        return group.share(lambda: _result(tally, lineup, circumstances))


def _with_enough(tools: Sequence[Analyzer], images: int) -> tuple[list[Analyzer], list[str]]:
    """Leave out the analyzers that need more images, and say so."""
    short = [tool for tool in tools if tool.least_images > images]
    needs = ", ".join(f"{tool.name} needs {tool.least_images}" for tool in short)
    notes = [f"Left out, with too few images ({images}): {needs}."] if short else []
    return [tool for tool in tools if tool not in short], notes


def _begin(progress: ProgressFile, tally: Tally, group: Processes, *, resume: bool) -> None:
    """Take up what an interrupted run left, or clear it away."""
    if not resume:
        group.meet()  # nobody saves before everybody's earlier progress is gone
        remove_progress(progress.folder)
        group.meet()
        return
    state = progress.load()
    if state is not None:
        tally.restore(state)
        warnings.warn(f"going on after {tally.batches} batches", stacklevel=2)
    elif not holds_progress(progress.folder):
        warnings.warn(
            f"no progress in {progress.folder}: starting from the beginning", stacklevel=2
        )


def _result(tally: Tally, lineup: Sequence[LoadedModel], circumstances: dict[str, Any]) -> Result:
    images = tally.images
    left = len(images) - len(images.skipped)
    if not left:
        raise ImageError(f"none of the {len(images)} images of {images.source} is readable")
    tools, notes = _with_enough(tally.tools, left)
    if not tools:
        raise OptionError(f"{notes[0]} No analyzer is left: show more readable images")
    for note in notes:
        tally.note(note)
    kinds = {model.name: model.kind for model in lineup}
    tables = {tool.name: tool.table(kinds) for tool in tools}
    values = [tool.per_image(images.ids) for tool in tools if isinstance(tool, PerImageAnalyzer)]
    facts = circumstances | {
        "seconds": round(tally.seconds, 3), "seconds_waiting": round(tally.seconds_waiting, 3),
        "notes": tally.notes,
    }  # fmt: skip
    manifest = describe_run(lineup, tally.places, images, tools, facts)
    return Result(tables, manifest, join_per_image(values))
