"""What every analyzer is: which sites it looks at, what it measures there, and its table.

What belongs here: the contract that `loop` relies on and that the tests run over `ANALYZERS`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor

from mimprobe.analyzers.view import View
from mimprobe.models.sites import Layout
from mimprobe.stream import State

Measured = dict[str, Tensor]
"""What one site gave for one batch: tensors whose first axis counts the images.

One whose name begins with `TOTAL` is a sum over images instead, with a first axis of length one.
"""

TOTAL = "total:"
"""Marks sums over images, of what is too large to be kept until the end of a batch for each."""


class Pieces:
    """What the views of one site gave one analyzer: totals are added up as they come."""

    def __init__(self) -> None:
        self._found: dict[str, list[Tensor]] = {}

    def add(self, piece: Measured) -> None:
        """Take in what the next view gave."""
        for name, values in piece.items():
            found = self._found.setdefault(name, [])
            if found and name.startswith(TOTAL):
                found[0] += values
            else:
                found.append(values)

    def joined(self) -> Measured:
        """Put the images of all views behind each other; totals are in one piece already."""
        return {name: torch.cat(found) for name, found in self._found.items()}


@runtime_checkable
class Analyzer(Protocol):
    """One diagnostic over any number of models on the same images."""

    name: str
    columns: tuple[str, ...]
    """Columns of its table."""
    least_images: int
    """Fewest images from which it can be told."""

    def sites(self, places: Layout) -> tuple[str, ...]:
        """Names of the sites that it wants of a network; none where it does not apply."""
        ...

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:
        """Prepare for these models, by name, and at most so many images.

        What is remembered is replaced, not emptied: a shallow copy made before keeps its own.
        """
        ...

    def measure(self, view: View) -> Measured:
        """Reduce what a site shows; called inside the pass, keeps nothing of the view."""
        ...

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Remember a batch: numbers of its images, and what was measured by model and site."""
        ...

    def merge(self, other: Any) -> None:
        """Take over what another analyzer of the same kind remembers of other images."""
        ...

    def state(self) -> State:
        """Give everything remembered, for a file or another process; to be used before `add`."""
        ...

    def restore(self, state: State) -> None:
        """Take over a state in the place of what is remembered; called after an equal `begin`."""
        ...

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """Give the tidy table; `kinds` says how each model was trained."""
        ...

    def describe(self) -> dict[str, Any]:
        """Give definition and choices, for the manifest."""
        ...
