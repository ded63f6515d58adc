"""A layer test of several models: images and models in, tables out.

What belongs here: the order of a test, and its manifest. What does not: one model (`judge`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mimprobe.data.images import open_images
from mimprobe.errors import OptionError
from mimprobe.experiments.layers.checks import (
    FINETUNE,
    check_choices,
    check_model,
    check_sizes,
    check_tuning,
)
from mimprobe.experiments.layers.definition import describe
from mimprobe.experiments.layers.judge import Judge
from mimprobe.experiments.layers.rows import (
    Tested,
    curve_values,
    outcome_table,
    saved,
    taken_up,
)
from mimprobe.experiments.layers.tuning import Tuning
from mimprobe.experiments.layers.variants import Variant
from mimprobe.experiments.saved_steps import Saved, SavedSteps
from mimprobe.loop.manifest import describe_run
from mimprobe.loop.run import Images, Models
from mimprobe.models.device import resolve_device
from mimprobe.models.sites import layout
from mimprobe.readout.labels import drawn_by_class, labels_of, never_learnt
from mimprobe.tables import Result
from mimprobe.tables.layer_tests import DRIFT
from mimprobe.zoo.lineup import line_up
from mimprobe.zoo.loaded import LoadedModel


def layer_test(
    models: Models,
    test: str,
    train: Images,
    val: Images,
    *,
    readouts: Sequence[str] = ("drift", "knn"),
    seeds: int = 3,
    changed: Sequence[int] | None = None,
    epochs: int = 100,
    training: Mapping[str, Any] | None = None,
    layer: int | None = None,
    pooling: str = "mean",
    transform: Callable[[Image.Image], Tensor] | None = None,
    kinds: Mapping[str, str] | None = None,
    batch_size: int = 64,
    device: str | torch.device = "auto",
    seed: int = 0,
    limit: int | None = None,
    skip_bad_images: bool = False,
    budget_bytes: int = 1 << 30,
    progress_in: str | os.PathLike[str] | None = None,
    resume: bool = False,
    command: str = "mimprobe.layer_test(...)",
) -> Result:
    """Measure what is left of networks whose blocks change places, go, or are made anew.

    Args:
        models: as in `probe`: plain or windowed vision transformers of any depth.
        test: `swap`, `drop`, `reset` or `heads`.
        train: images, in folders by class, that read-outs learn from.
        val: images of the same classes that they are judged on.
        readouts: `drift` (always taken), `knn`, and of the curve alone `linear` and `finetune`.
        seeds: how often what is random is drawn: permutations, fresh weights, probes, fine-tuning.
        changed: numbers of changed blocks at which networks are fine-tuned, besides the intact
            ones; by default all.
        epochs: of fine-tuning.
        training: other fields of `TrainConfig` for it, where they shall not be the recipe's.
        layer: block that is read out, from 0; by default the last one, behind the final norm. What
            is changed only behind it is left out.
        pooling: `mean` of the patch tokens, `cls`, or `both`. Fine-tuning always has the mean of
            the last block.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        kinds: how each model was trained, by name.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: the first of them; also of the choice of images under `limit`, and of untrained
            networks.
        limit: take at most so many images of each set, drawn at random; with a read-out, of every
            class as large a share as of the others.
        skip_bad_images: skip and record unreadable images instead of stopping; not with `finetune`.
        budget_bytes: memory for features, beyond which they are kept in a temporary file.
        progress_in: folder in which each model's frozen read-outs, and each point that is
            fine-tuned, are saved when they are done; `tables.remove_progress` removes them when the
            result is safe.
        resume: go on with what is there; the same numbers as without the interruption.
        command: what the manifest says was run.

    Returns:
        One table `layer_<test>` with the columns `tables.LAYER_TEST_COLUMNS`, and for the points of
        the curves whether each validation image was named rightly, as a mean over seeds.

    Raises:
        UnknownNameError: a model, test, read-out, pooling or device that does not exist.
        OptionError: a layer that a model does not have, a network that cannot be changed so, or
            too few images.
        ImageError: labels are missing, or the two sets have different classes.
        NonFiniteError: a changed network gave NaN or infinity.
        OutputError: the progress is damaged, or of another run.
    """
    check_choices(
        test, readouts, seeds=seeds, batch_size=batch_size, epochs=epochs, changed=changed,
        training=training,
    )  # fmt: skip
    place = resolve_device(device)
    learnt = tuple(dict.fromkeys(name for name in readouts if name != DRIFT))
    frozen = tuple(name for name in learnt if name != FINETUNE)
    if skip_bad_images and FINETUNE in learnt:
        raise OptionError(
            "fine-tuning leaves out no damaged images: repair or remove them, or take another "
            "--readout"
        )
    known, asked = (open_images(images, skip_bad_images=skip_bad_images) for images in (train, val))
    if learnt:
        labels_of(known, asked)
        known, asked = (drawn_by_class(images, limit, seed) for images in (known, asked))
    elif limit is not None:
        known, asked = (open_images(images, limit=limit, seed=seed) for images in (known, asked))
    lineup = line_up(models, transform=transform, kinds=kinds or {}, device=place, seed=seed)
    for model in lineup:
        check_model(model, test, layer, pooling, changed)
    check_sizes(learnt, known, asked)
    if FINETUNE in learnt:
        check_tuning(lineup, known, epochs, training or {})
    drawn = range(seed, seed + seeds)
    judge = Judge(
        test, known, asked, frozen, drawn, layer, pooling, batch_size, place, budget_bytes
    )
    points = None if changed is None else tuple(changed)
    settings = {**(training or {}), "device": str(place)}
    tuning = Tuning(test, known, asked, drawn, points, epochs, settings)
    numbers_of = {
        "test": test, "read-outs": ", ".join(learnt), "seeds": list(drawn), "layer": layer,
        "pooling": pooling, "batch size": batch_size, "epochs": epochs, "device": place.type,
        "training": dict(training or {}),
    }  # fmt: skip
    sets = {"training images": known, "validation images": asked}
    steps = SavedSteps(progress_in, lineup, sets, numbers_of, resume=resume)
    tested = _frozen(steps, judge, lineup)
    if FINETUNE in learnt:
        tested += _tuned(steps, tuning, lineup)
    never = never_learnt(*judge.answers()) if learnt else []
    circumstances = {
        "command": command, "seed": seed, "precision": "float32", "device": str(place),
        "batch_size": batch_size, "seconds": round(steps.seconds, 3),
        "notes": [*steps.notes, *never],
    }  # fmt: skip
    places = {model.name: layout(model.module) for model in lineup}
    manifest = describe_run(lineup, places, asked, [], circumstances)
    manifest["train_images"] = known.describe()
    manifest["analyzers"] = {f"layer_{test}": describe(judge, learnt, epochs, training or {})}
    table = outcome_table(test, pooling, tested)
    kept = [number for number in range(len(asked)) if number not in asked.skipped]
    ids = tuple(asked.ids[number] for number in kept)
    return Result({f"layer_{test}": table}, manifest, curve_values(test, tested, ids))


def _frozen(steps: SavedSteps, judge: Judge, lineup: Sequence[LoadedModel]) -> list[Tested]:
    """Put each model through the test, a step for each."""

    def judged(model: LoadedModel) -> Saved:
        return saved(judge.of(model))

    tested = []
    for number, model in enumerate(lineup):
        found = steps.step(f"{number}-frozen", partial(judged, model))
        tested += taken_up(model, found)
    return tested


def _tuned(steps: SavedSteps, tuning: Tuning, lineup: Sequence[LoadedModel]) -> list[Tested]:
    """Fine-tune each model, a step for each point of its curve."""

    def tuned(model: LoadedModel, group: Sequence[Variant]) -> Saved:
        return saved([tuning.of(model, group)])

    tested = []
    for number, model in enumerate(lineup):
        for group in tuning.points(model):
            changed = group[0].changed
            found = steps.step(f"{number}-tuned-{changed}", partial(tuned, model, group))
            tested += taken_up(model, found)
    return tested
