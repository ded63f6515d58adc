"""Read-outs by layer and pooling: where in a network, and how pooled, classes are told apart best.

What belongs here: the order of the measurement. What does not: reading one model out
(`model_readouts`), rows of the table (`readout_rows`), and the read-outs themselves (`readout`).

Each model prepares the images as its own weights expect.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from mimprobe.data.images import ImageSet, open_images
from mimprobe.errors import OptionError
from mimprobe.experiments.model_readouts import ModelReadouts, Outcome, require_readouts
from mimprobe.experiments.readout_rows import describe, per_image, table_of
from mimprobe.experiments.saved_steps import Saved, SavedSteps
from mimprobe.loop.manifest import describe_run
from mimprobe.loop.run import Images, Models
from mimprobe.models.device import resolve_device
from mimprobe.models.sites import Layout, layout
from mimprobe.readout import READOUTS, require_enough
from mimprobe.readout.features import require_poolings
from mimprobe.readout.labels import drawn_by_class, labels_of, never_learnt
from mimprobe.stream import BUDGET_BYTES
from mimprobe.tables import Result
from mimprobe.zoo.lineup import line_up
from mimprobe.zoo.loaded import LoadedModel


def layer_readouts(
    models: Models,
    train: Images,
    val: Images,
    *,
    readouts: Sequence[str] = tuple(READOUTS),
    poolings: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    seeds: int = 3,
    seed: int = 0,
    transform: Callable[[Image.Image], Tensor] | None = None,
    kinds: Mapping[str, str] | None = None,
    batch_size: int = 64,
    device: str | torch.device = "auto",
    budget_bytes: int = BUDGET_BYTES,
    limit: int | None = None,
    skip_bad_images: bool = False,
    progress_in: str | os.PathLike[str] | None = None,
    resume: bool = False,
    command: str = "mimprobe.layer_readouts(...)",
) -> Result:
    """Measure how well classes are read out of each layer's frozen features.

    Args:
        models: as in `probe`; networks of any known family.
        train: labelled images that the read-outs learn from.
        val: labelled images of the same classes, on which they are judged.
        readouts: `knn`, `linear` or `attentive`.
        poolings: `mean`, `cls` or `both`; by default `mean`, and `cls` where there is a class
            token. An attentive probe pools by itself.
        layers: counted from 0; all by default.
        seeds: how often a read-out that draws is repeated.
        seed: the first of them, also of untrained networks and of the draw under `limit`.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        kinds: how each model was trained, by name.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        budget_bytes: memory for a set's features before they move to disk.
        limit: take at most so many images of each set, of every class as large a share as of the
            others.
        skip_bad_images: skip and record unreadable images instead of stopping.
        progress_in: folder in which each model's frozen read-outs, and each layer's attentive
            probe, are saved when they are done; `tables.remove_progress` removes them when the
            result is safe.
        resume: go on with what is there; the same numbers as without the interruption.
        command: what the manifest says was run.

    Returns:
        One table `readout` with the columns `tables.READOUT_COLUMNS`; metric `chance_accuracy` is
        that of always naming the class that is commonest in `train`.

    Raises:
        UnknownNameError: a model, read-out, pooling or device that does not exist.
        OptionError: a layer that a model does not have, `cls` without a class token, too few
            training images for a read-out, or a limit below the number of classes.
        ImageError: labels are missing, or the classes of the two sets differ.
        OutputError: the progress is damaged, or of another run.
    """
    require_readouts(readouts)
    for what, count in (("seeds", seeds), ("batch_size", batch_size)):
        if count < 1:
            raise OptionError(f"{what} must be at least 1, not {count}")
    place = resolve_device(device)
    sets = [open_images(images, skip_bad_images=skip_bad_images) for images in (train, val)]
    labels_of(*sets)
    sets = [drawn_by_class(images, limit, seed) for images in sets]
    require_enough(readouts, labels_of(*sets)[0])
    lineup = line_up(models, transform=transform, kinds=kinds or {}, device=place, seed=seed)
    places = {model.name: layout(model.module) for model in lineup}
    chosen = {
        model.name: (
            _sites(model, places[model.name], layers),
            _poolings(model, places[model.name], poolings),
        )
        for model in lineup
    }
    outcomes: list[Outcome] = []
    numbers_of = {
        "read-outs": ", ".join(readouts), "layers": layers and list(layers), "seed": seed,
        "poolings": poolings and list(poolings), "seeds": seeds, "batch size": batch_size,
        "device": place.type,
    }  # fmt: skip
    images_of = {"training images": sets[0], "validation images": sets[1]}
    steps = SavedSteps(progress_in, lineup, images_of, numbers_of, resume=resume)
    for number, model in enumerate(lineup):
        run = ModelReadouts(
            model, *sets, seeds=range(seed, seed + seeds), batch_size=batch_size, device=place,
            budget_bytes=budget_bytes,
        )  # fmt: skip
        for name, read in run.steps(*chosen[model.name], readouts):
            found = steps.step(f"{number}-{name}", partial(_read, read))
            outcomes += (Outcome(*one) for one in found)
    labels, truth, classes = labels_of(*sets)
    circumstances = {
        "command": command, "seed": seed, "seeds": seeds, "precision": "float32",
        "device": str(place), "batch_size": batch_size,
        "seconds": round(steps.seconds, 3), "notes": [*steps.notes, *never_learnt(labels, truth)],
    }  # fmt: skip
    manifest = describe_run(lineup, places, sets[1], [], circumstances)
    manifest["train_images"] = sets[0].describe()
    manifest["analyzers"] = {"readout": describe(readouts, seeds, len(labels), classes)}
    table = table_of(outcomes, places, {model.name: model.kind for model in lineup})
    return Result({"readout": table}, manifest, per_image(outcomes, places, _ids(sets[1])))


def _read(read: Callable[[], Iterator[Outcome]]) -> Saved:
    return [tuple(outcome) for outcome in read()]


def _sites(model: LoadedModel, places: Layout, layers: Sequence[int] | None) -> list[str]:
    """Give the sites of the layers asked for, each once and in order."""
    sites = places.feature_sites
    if layers is not None and not layers:
        raise OptionError("name at least one layer")
    for layer in layers or ():
        if not 0 <= layer < len(sites):
            raise OptionError(
                f"{model.name} has no layer {layer + 1}; its layers are 1 to {len(sites)}"
            )
    return [sites[layer] for layer in sorted(set(range(len(sites)) if layers is None else layers))]


def _poolings(model: LoadedModel, places: Layout, poolings: Sequence[str] | None) -> list[str]:
    if poolings is None:
        return ["mean", "cls"] if places.class_token else ["mean"]
    if not poolings:
        raise OptionError("name at least one pooling")
    require_poolings(model, poolings)
    return list(dict.fromkeys(poolings))


def _ids(images: ImageSet) -> tuple[str, ...]:
    return tuple(name for number, name in enumerate(images.ids) if number not in images.skipped)
