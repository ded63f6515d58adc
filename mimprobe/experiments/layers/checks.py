"""What can be known to be wrong with a layer test before any image is shown.

What belongs here: refusals. What does not: what is checked where it is used (`chain`, `readout`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mimprobe.data.images import ImageSet
from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.finetuned import check_settings
from mimprobe.experiments.layers.chain import check_reading
from mimprobe.experiments.layers.variants import TESTS, curve_counts
from mimprobe.measures.similarity import require_images
from mimprobe.readout import READOUTS, require_enough
from mimprobe.readout.labels import labels_of
from mimprobe.tables.layer_tests import DRIFT
from mimprobe.train.config import TrainConfig
from mimprobe.zoo.loaded import LoadedModel

FINETUNE = "finetune"

EVERYWHERE = frozenset({DRIFT, "knn"})
"""Read-outs of every single pair, block and head; the others are of the curve alone."""


def check_choices(
    test: str,
    readouts: Sequence[str],
    *,
    seeds: int,
    batch_size: int,
    epochs: int,
    changed: Sequence[int] | None,
    training: Mapping[str, Any] | None,
) -> None:
    """Refuse what no model could be put through.

    Raises:
        UnknownNameError: a test or read-out that does not exist.
        OptionError: no read-out, fewer than one seed, image or epoch, or points for a read-out that
            is not made.
    """
    if test not in TESTS:
        raise UnknownNameError("layer test", test, TESTS)
    if not readouts:
        raise OptionError(f"name at least one read-out: {', '.join((DRIFT, FINETUNE, *READOUTS))}")
    for name in readouts:
        if name not in (DRIFT, FINETUNE, *READOUTS):
            raise UnknownNameError("read-out", name, (DRIFT, FINETUNE, *READOUTS))
    for name, count in {"seeds": seeds, "batch_size": batch_size, "epochs": epochs}.items():
        if count < 1:
            raise OptionError(f"{name} must be at least 1, not {count}")
    if test == "heads" and (curves := [name for name in readouts if name not in EVERYWHERE]):
        raise OptionError(
            f"{' and '.join(curves)} cannot tell what single heads are worth: they are of curves, "
            f"and the test heads has none; choose of {', '.join(sorted(EVERYWHERE))}"
        )
    if training and FINETUNE not in readouts:
        raise OptionError(
            f"training (--training) sets {', '.join(training)} of fine-tuning; add {FINETUNE!r} to "
            "the read-outs"
        )
    if changed is not None and FINETUNE not in readouts:
        raise OptionError(
            f"changed={list(changed)} (--changed) chooses what is fine-tuned; add {FINETUNE!r} to "
            "the read-outs"
        )


def check_sizes(readouts: Sequence[str], train: ImageSet, val: ImageSet) -> None:
    """Refuse fewer images than drift or a read-out takes.

    Raises:
        OptionError: there are too few.
    """
    require_images(len(val))
    if readouts:
        require_enough(readouts, labels_of(train, val)[0])


def check_tuning(
    lineup: Sequence[LoadedModel], train: ImageSet, epochs: int, settings: Mapping[str, Any]
) -> None:
    """Refuse what fine-tuning would refuse after all frozen read-outs.

    Raises:
        OptionError: fewer images than a batch, a network not of timm, or a setting out of range.
        UnknownNameError: no such setting.
    """
    for model in lineup:
        check_settings(model, epochs, settings)
    batch = settings.get("batch_size", TrainConfig.batch_size)
    if len(train) < batch:
        raise OptionError(
            f"fine-tuning takes batches of {batch}, and there are {len(train)} images to learn "
            f"from; show {batch} or more, or pass training={{'batch_size': N}} (--training "
            "'{\"batch_size\": N}')"
        )


def check_model(
    model: LoadedModel, test: str, layer: int | None, pooling: str, changed: Sequence[int] | None
) -> None:
    """Refuse a network that cannot be put through a test, and numbers that it does not have.

    Raises:
        OptionError: it has no blocks that can be changed, none that can be exchanged, or no point
            of the curve that `changed` asks for.
    """
    try:
        counts = curve_counts(test, model.module)
        check_reading(model.module, layer, pooling)
    except OptionError as error:
        raise OptionError(f"model {model.name!r}: {error}") from error
    if counts == [0] and test == "swap":
        raise OptionError(
            f"model {model.name!r} has no two blocks that could change places: only blocks of one "
            "stage with the same window shift can; use the tests drop or reset"
        )
    for count in changed or ():
        if count not in counts:
            raise OptionError(
                f"changed={count} (--changed) is no point of the curve of model {model.name!r}: "
                f"in the test {test} it has {', '.join(map(str, counts))}"
            )
