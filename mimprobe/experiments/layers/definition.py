"""What a layer test says of itself in the manifest.

What belongs here: definitions, units and settings, as data. What does not: numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mimprobe.experiments.layers.checks import FINETUNE
from mimprobe.experiments.layers.judge import Judge
from mimprobe.experiments.readout_rows import DEFINITIONS
from mimprobe.readout.labels import guessed_correct
from mimprobe.readout.neighbours import NEIGHBOURS, TEMPERATURE
from mimprobe.tables.layer_tests import DRIFT

CHANGES = {
    "swap": "Two blocks exchange their places; on the curve, so many blocks drawn at random do",
    "drop": "A block becomes the identity; on the curve, so many last blocks do",
    "reset": "A block gets fresh weights; on the curve, so many last blocks do",
    "heads": "What a head adds to its block's output is left out",
}
READ = (
    "Read out at {place}, pooling {pooling}. Drift: CKA with the unbiased HSIC to the intact "
    "network's features of the validation images, standard error by jackknife over groups of "
    "images."
)
LEARNT = (
    " Accuracy: share of validation images named rightly by what is learnt anew from the changed "
    "network and the training images; standard error sqrt(var(v) / n + var over seeds of the "
    "seeds' accuracies / seeds), v the images' means over seeds, the second term with several "
    "seeds only."
)
TUNED = (
    "the whole changed network and a new classifier of its mean patch token, trained by the recipe "
    "of mimprobe finetune"
)


def describe(
    judge: Judge, readouts: Sequence[str], epochs: int, training: Mapping[str, Any]
) -> dict[str, Any]:
    """Definition, units and settings, those of the read-outs that were taken.

    `training` are the settings of fine-tuning that are not the recipe's.
    `chance` is what always naming the commonest class of training gives.
    """
    place = (
        "the last block behind the final norm" if judge.layer is None
        else f"block {judge.layer}, from 0"
    )  # fmt: skip
    read = READ.format(place=place, pooling=judge.pooling) + (LEARNT if readouts else "")
    changed = ", ".join(f"{name}={value!r}" for name, value in training.items())
    tuned = f"{TUNED}, {epochs} epochs" + (f", with {changed}" if changed else "")
    learners = {**DEFINITIONS, FINETUNE: tuned}
    told = "".join(f" {name}: {learners[name]}." for name in readouts)
    metrics = [DRIFT, *(f"{name}_accuracy" for name in readouts)]
    described = {
        "definition": f"{CHANGES[judge.test]}. {read}{told}", "units": dict.fromkeys(metrics, "1"),
        "readouts": [DRIFT, *readouts], "seeds": len(judge.seeds), "layer": judge.layer,
        "pooling": judge.pooling,
    }  # fmt: skip
    if readouts:
        described["chance"] = guessed_correct(*judge.answers()).double().mean().item()
    if "knn" in readouts:
        described |= {"k": NEIGHBOURS, "temperature": TEMPERATURE}
    if FINETUNE in readouts:
        described |= {"finetune_epochs": epochs, "finetune_training": dict(training)}
    return described
