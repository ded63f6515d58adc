"""What a representation is good for.

What belongs here: what is read out of frozen features, by name. What does not: changing a network
(`models.surgery`), training one (`train`), and putting numbers into tables (`experiments`).
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mimprobe.errors import OptionError
from mimprobe.readout.linear import linear_probe_correct
from mimprobe.readout.neighbours import NEIGHBOURS, nearest_neighbours_correct
from mimprobe.shapes import Pooled


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
    ) -> Bool[Tensor, " query"]:
        """Learn from features and labels, and judge on the queries."""
        ...


def _neighbours_correct(
    features: Pooled,
    labels: Int[Tensor, " image"],
    query_features: Float[Tensor, "query feature"],
    query_labels: Int[Tensor, " query"],
    *,
    seed: int,  # noqa: ARG001 - nothing here is drawn
) -> Bool[Tensor, " query"]:
    return nearest_neighbours_correct(features, labels, query_features, query_labels)


READOUTS: Mapping[str, Readout] = {"knn": _neighbours_correct, "linear": linear_probe_correct}
"""By the name that tables and commands use."""

SEEDLESS = frozenset({"knn"})
"""Read-outs that draw nothing: one seed says all."""


def require_enough(readouts: Iterable[str], images: int) -> None:
    """Refuse fewer training images than a read-out takes, before a long pass over them.

    Raises:
        OptionError: fewer images than neighbours that vote.
    """
    if "knn" in readouts and images < NEIGHBOURS:
        raise OptionError(
            f"knn asks {NEIGHBOURS} neighbours, and there are {images} images to learn from; show "
            f"{NEIGHBOURS} or more, or choose other read-outs"
        )
