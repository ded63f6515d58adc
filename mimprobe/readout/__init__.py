"""What a representation is good for.

What belongs here: what is read out of frozen features, by name. What does not: changing a network
(`models.surgery`), training one (`train`), and putting numbers into tables (`experiments`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.readout.linear import linear_probe
from mimprobe.readout.neighbours import NEIGHBOURS, nearest_neighbours_correct
from mimprobe.shapes import Pooled


class Read(NamedTuple):
    """Whether the class of each query is named rightly, and what was chosen to do so, if anything.

    A number that is chosen has its name in `CHOSEN`.
    """

    correct: Bool[Tensor, " query"]
    chosen: float | None = None


class Readout(Protocol):
    """Tells for each query whether what was learnt from the features names its class."""

    def __call__(
        self,
        features: Pooled,
        labels: Int[Tensor, " image"],
        query_features: Float[Tensor, "query feature"],
        query_labels: Int[Tensor, " query"],
        *,
        seed: int,
    ) -> Read:
        """Learn from features and labels, and judge on the queries."""
        ...


def _neighbours(
    features: Pooled,
    labels: Int[Tensor, " image"],
    query_features: Float[Tensor, "query feature"],
    query_labels: Int[Tensor, " query"],
    *,
    seed: int,  # noqa: ARG001 - nothing here is drawn
) -> Read:
    return Read(nearest_neighbours_correct(features, labels, query_features, query_labels))


def _linear(
    features: Pooled,
    labels: Int[Tensor, " image"],
    query_features: Float[Tensor, "query feature"],
    query_labels: Int[Tensor, " query"],
    *,
    seed: int,
) -> Read:
    probe = linear_probe(features, labels, seed=seed)
    return Read(probe.classes(query_features) == query_labels, probe.penalty)


READOUTS: Mapping[str, Readout] = {"knn": _neighbours, "linear": _linear}
"""By the name that tables and commands use."""

SEEDLESS = frozenset({"knn"})
"""Read-outs that draw nothing: one seed says all."""

CHOSEN = {"linear": "penalty", "attentive": "steps"}
"""What a read-out chooses for itself, by its name."""


def choices_told(name: str, chosen: Iterable[float | None]) -> str:
    """Say what a read-out chose, seed by seed; nothing of one that has no choice."""
    numbers = [f"{one:g}" for one in chosen if one is not None]
    return f"{CHOSEN[name]} = {', '.join(numbers)}" if numbers else ""


def require_enough(readouts: Iterable[str], labels: Int[Tensor, " image"]) -> None:
    """Refuse fewer training images than a read-out takes.

    Raises:
        OptionError: fewer images than neighbours that vote, or no class with two images for a probe
            to be chosen on.
    """
    images = len(labels)
    for name in readouts:
        if name == "knn" and images < NEIGHBOURS:
            raise OptionError(
                f"knn asks {NEIGHBOURS} neighbours, and there are {images} images to learn from; "
                f"show {NEIGHBOURS} or more, or choose other read-outs"
            )
        if name in CHOSEN and labels.bincount().max() < 2:
            raise OptionError(
                f"{name} is chosen on images held out, and each of the {images} to learn from is "
                "the only one of its class; show more, or choose other read-outs"
            )
