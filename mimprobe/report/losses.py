"""What layer tests cost each model, as columns of the summary's table.

What belongs here: which points of the curves are told. What does not: comparing models (`claims`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mimprobe.claims.dropping import MOST
from mimprobe.claims.estimates import Estimate
from mimprobe.claims.exchange import FEWEST
from mimprobe.claims.losses import READOUTS, intact_accuracy, mean_loss, points_of, some_points
from mimprobe.tables import LAYER_TESTS, Result


@dataclass(frozen=True)
class Column:
    """One quantity of the summary's table, by model."""

    label: str
    unit: str
    values: Mapping[str, Estimate]


TOLD: Mapping[str, tuple[str, Callable[[int], bool], frozenset[int]]] = {
    "layer_swap": ("lost to exchanging layers", lambda changed: changed >= FEWEST, frozenset()),
    "layer_drop": (
        "lost without the last one to three", lambda dropped: dropped <= MOST,
        frozenset(range(1, MOST + 1)),
    ),
    "layer_reset": (
        "lost to resetting the last one to three", lambda changed: changed <= MOST,
        frozenset(range(1, MOST + 1)),
    ),
}  # fmt: skip
"""By table, which loss is told, of which points of its curve, and which of them must be there."""


def loss_columns(result: Result, models: Sequence[str]) -> list[Column]:
    """Give accuracy of the intact networks and what each test costs, for each read-out."""
    return [column for metric in READOUTS for column in _columns(result, models, metric)]


def _columns(result: Result, models: Sequence[str], metric: str) -> Iterator[Column]:
    whose = f"accuracy {READOUTS[metric]}"
    if intact := _intact(result, models, metric):
        yield Column(f"{whose[:1].upper()}{whose[1:]}, intact", "", intact)
    for name, (words, chosen, needed) in TOLD.items():
        test, values = name.removeprefix("layer_"), result.per_image
        found = {
            model: loss.estimated()[0]
            for model in models if name in result
            if needed <= set(points_of(values, test, model, metric))
            if (loss := mean_loss(result[name], values, model, metric, chosen))
        }  # fmt: skip
        if found:
            some = [] if needed else some_points(result[name], values, found, metric)
            told = f" (only {', '.join(map(str, some))} of them)" if some else ""
            yield Column(f"{whose[:1].upper()}{whose[1:]}, {words}{told}", "", found)


def _intact(result: Result, models: Sequence[str], metric: str) -> dict[str, Estimate]:
    """Give the accuracy of the intact networks, from the first test that has it."""
    for name in LAYER_TESTS:
        found = {
            model: replace(known, low=max(known.low, 0.0), high=min(known.high, 1.0))
            for model in models if name in result
            if (known := intact_accuracy(result[name], result.per_image, model, metric))
        }  # fmt: skip
        if found:
            return found
    return {}
