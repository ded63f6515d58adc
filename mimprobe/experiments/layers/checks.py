"""What can be known to be wrong with a layer test before any image is shown.

What belongs here: refusals. What does not: what is checked where it is used (`chain`, `readout`).
"""

from collections.abc import Sequence

from mimprobe.errors import OptionError, UnknownNameError
from mimprobe.experiments.layers.chain import check_reading
from mimprobe.experiments.layers.outcomes import DRIFT
from mimprobe.experiments.layers.variants import TESTS
from mimprobe.models.surgery import depth, exchangeable_pairs
from mimprobe.readout import READOUTS
from mimprobe.zoo.loaded import LoadedModel

FINETUNE = "finetune"


def check_choices(test: str, readouts: Sequence[str], seeds: int, batch_size: int) -> None:
    """Refuse what no model could be put through.

    Raises:
        UnknownNameError: a test or read-out that does not exist.
        OptionError: fewer than one seed, or an empty batch.
    """
    if test not in TESTS:
        raise UnknownNameError("layer test", test, TESTS)
    for name in readouts:
        if name not in (DRIFT, FINETUNE, *READOUTS):
            raise UnknownNameError("read-out", name, (DRIFT, FINETUNE, *READOUTS))
    if seeds < 1:
        raise OptionError(f"seeds must be at least 1, not {seeds}")
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, not {batch_size}")


def check_model(
    model: LoadedModel, test: str, layer: int | None, pooling: str, changed: Sequence[int]
) -> None:
    """Refuse a network that cannot be put through a test, and numbers that it does not have.

    Raises:
        OptionError: it has no blocks that can be changed, none that can be exchanged, or fewer
            than `changed` asks for.
    """
    try:
        blocks = depth(model.module)
        check_reading(model.module, layer, pooling)
        pairs = exchangeable_pairs(model.module) if test == "swap" else []
    except OptionError as error:
        raise OptionError(f"model {model.name!r}: {error}") from error
    if test == "swap" and not pairs:
        raise OptionError(
            f"model {model.name!r} has no two blocks that could change places: only blocks of one "
            "stage with the same window shift can; use the tests drop or reset"
        )
    for count in changed:
        if not 0 <= count <= blocks:
            raise OptionError(
                f"changed={count} of the {blocks} blocks of model {model.name!r}; choose 0 to "
                f"{blocks}"
            )
