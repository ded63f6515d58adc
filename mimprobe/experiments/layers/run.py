"""A layer test of several models: images and models in, tables out.

What belongs here: the order of a test, and its manifest. What does not: one model (`judge`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mimprobe.data.images import ImageSet, open_images
from mimprobe.experiments.layers.checks import FINETUNE, check_choices, check_model
from mimprobe.experiments.layers.judge import Judge
from mimprobe.experiments.layers.outcomes import DRIFT
from mimprobe.experiments.layers.rows import curve_values, outcome_table
from mimprobe.experiments.layers.tuning import Tuning
from mimprobe.loop.manifest import describe_run
from mimprobe.loop.run import Images, Models
from mimprobe.models.device import resolve_device
from mimprobe.models.sites import layout
from mimprobe.readout import require_enough
from mimprobe.readout.labels import guessed_correct, labels_of
from mimprobe.tables import Result
from mimprobe.zoo.lineup import line_up

CHANGES = {
    "swap": "two blocks exchange their places; on the curve, `changed` blocks drawn at random do",
    "drop": "a block becomes the identity; on the curve, the last `changed` blocks do",
    "reset": "a block gets fresh weights; on the curve, the last `changed` blocks do",
    "heads": "what a head adds to its block's output is left out",
}
READ = (
    "Read out at {place}, pooling {pooling}. drift: CKA with the unbiased HSIC to the intact "
    "network's features of the validation images, standard error by jackknife over groups of "
    "images. Accuracies: learnt anew from the changed network's features of the training images "
    "(finetune: the whole changed network is trained on them, by the recipe of mimprobe finetune), "
    "share of validation images named rightly; standard error sqrt(var(v) / n + var over seeds of "
    "the seeds' accuracies / seeds), v the images' means over seeds, the second term with several "
    "seeds only."
)


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
    budget_bytes: int = 1 << 30,
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
        changed: numbers of changed blocks at which networks are fine-tuned; by default all.
        epochs: of fine-tuning.
        training: other fields of `TrainConfig` for it, where they shall not be the recipe's.
        layer: block that is read out, from 0; by default the last one, behind the final norm.
        pooling: `mean` of the patch tokens, `cls`, or `both`.
        transform: PIL image to (3, height, width) tensor, for modules that bring none.
        kinds: how each model was trained, by name.
        batch_size: images for each pass; changes no number.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: of the choice of images under `limit`, and of untrained networks.
        limit: take at most so many images of each set, drawn at random.
        budget_bytes: memory for features, beyond which they are kept in a temporary file.
        command: what the manifest says was run.

    Returns:
        One table `layer_<test>` with the columns `tables.LAYER_TEST_COLUMNS`, and for the points of
        the curves whether each validation image was named rightly, as a mean over seeds.

    Raises:
        UnknownNameError: a model, test, read-out, pooling or device that does not exist.
        OptionError: a layer that a model does not have, a network that cannot be changed so, or too
            few training images for a read-out.
        ImageError: labels are missing, or the two sets have different classes.
        NonFiniteError: a changed network gave NaN or infinity.
    """
    check_choices(
        test, readouts, seeds=seeds, batch_size=batch_size, epochs=epochs, changed=changed
    )
    started, place = time.monotonic(), resolve_device(device)
    wholes = open_images(train), open_images(val)
    learnt = tuple(dict.fromkeys(name for name in readouts if name != DRIFT))
    frozen = tuple(name for name in learnt if name != FINETUNE)
    known, asked = (open_images(images, limit=limit, seed=seed) for images in wholes)
    labels, truth = _labels(wholes, (known, asked)) if learnt else ((), ())
    require_enough(frozen, len(known))
    lineup = line_up(models, transform=transform, kinds=kinds or {}, device=place, seed=seed)
    for model in lineup:
        check_model(model, test, layer, pooling, changed)
    judge = Judge(
        test, known, asked, labels, truth, frozen, seeds, layer, pooling, batch_size, place,
        budget_bytes,
    )  # fmt: skip
    tested = [point for model in lineup for point in judge.of(model)]
    if FINETUNE in learnt:
        points = None if changed is None else tuple(changed)
        settings = {**(training or {}), "device": str(place)}
        tuning = Tuning(test, known, asked, seeds, points, epochs, settings)
        tested += [point for model in lineup for point in tuning.of(model)]
    circumstances = {
        "command": command, "seed": seed, "precision": "float32", "device": str(place),
        "batch_size": batch_size, "seconds": round(time.monotonic() - started, 3), "notes": [],
    }  # fmt: skip
    places = {model.name: layout(model.module) for model in lineup}
    manifest = describe_run(lineup, places, asked, [], circumstances)
    manifest["train_images"] = known.describe()
    manifest["analyzers"] = {f"layer_{test}": describe(judge, learnt)}
    if learnt:
        guessed = guessed_correct(torch.tensor(labels), torch.tensor(truth))
        manifest["analyzers"][f"layer_{test}"]["chance"] = guessed.double().mean().item()
    if FINETUNE in learnt:
        manifest["analyzers"][f"layer_{test}"]["finetune_epochs"] = epochs
    table = outcome_table(test, pooling, tested)
    kept = [number for number in range(len(asked)) if number not in asked.skipped]
    ids = tuple(asked.ids[number] for number in kept)
    return Result({f"layer_{test}": table}, manifest, curve_values(test, tested, ids))


def _labels(
    wholes: tuple[ImageSet, ImageSet], drawn: tuple[ImageSet, ImageSet]
) -> Iterator[tuple[int, ...]]:
    """Give the class numbers of what was drawn; a class of which nothing was drawn has one too."""
    *numbers, _ = labels_of(*wholes)
    for whole, images, found in zip(wholes, drawn, numbers, strict=True):
        by_id = dict(zip(whole.ids, found.tolist(), strict=True))
        yield tuple(by_id[name] for name in images.ids)


def describe(judge: Judge, readouts: Sequence[str]) -> dict[str, Any]:
    """Definition, units and settings, for the manifest."""
    place = (
        "the last block behind the final norm" if judge.layer is None
        else f"block {judge.layer}, from 0"
    )  # fmt: skip
    read = READ.format(place=place, pooling=judge.pooling)
    metrics = [DRIFT, *(f"{name}_accuracy" for name in readouts)]
    return {
        "definition": f"{CHANGES[judge.test]}. {read}", "units": dict.fromkeys(metrics, "1"),
        "readouts": [DRIFT, *readouts], "seeds": judge.seeds, "layer": judge.layer,
        "pooling": judge.pooling, "k": 20, "temperature": 0.07,
    }  # fmt: skip
