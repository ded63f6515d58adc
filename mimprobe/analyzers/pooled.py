"""What the analyzers of one vector for each image and layer have in common.

What belongs here: keeping the vectors. What does not: what is made of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pandas as pd

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.layer_pairs import Place, places_of
from mimprobe.analyzers.view import View, features_of
from mimprobe.errors import OptionError
from mimprobe.models.sites import Layout
from mimprobe.stream import BUDGET_BYTES, PooledRows


class PooledAnalyzer(ABC):
    """A diagnostic of the mean patch tokens of all images."""

    name: ClassVar[str]
    units: ClassVar[Mapping[str, str]]
    definition: ClassVar[str]
    columns: tuple[str, ...]
    least_images: int

    def __init__(self, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self.places: tuple[Place, ...] = ()
        self.rows: PooledRows | None = None

    def sites(self, places: Layout) -> tuple[str, ...]:
        """The output of every block."""
        return places.feature_sites

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:
        """Fix the order of the layers, and forget an earlier run.

        Raises:
            OptionError: too few images.
        """
        require_images(self.name, n_images, self.least_images)
        self.places = tuple(
            place
            for model, layout in places.items()
            for place in places_of(model, layout, self.sites(layout))
        )
        self.rows = PooledRows(self._keys(), budget_bytes=self.budget_bytes)

    def measure(self, view: View) -> Measured:
        """Average the patch tokens of each image.

        Raises:
            NonFiniteError: a vector holds NaN or infinity.
        """
        return {"pooled": features_of(view).pooled("mean")}

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Remember the vectors of a batch."""
        assert self.rows is not None
        found = {place.key: measured[place.model][place.site]["pooled"] for place in self.places}
        self.rows.add(images, found)

    def merge(self, other: "PooledAnalyzer") -> None:
        """Take over the other's images."""
        if self.rows is None:
            self.places = other.places
            self.rows = PooledRows(self._keys(), budget_bytes=self.budget_bytes)
        if other.rows is not None:
            self.rows.merge(other.rows)

    @abstractmethod
    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """Give the tidy table; `kinds` says how each model was trained."""

    def describe(self) -> dict[str, Any]:
        """Definition, units and tokens."""
        return {"definition": self.definition, "units": dict(self.units), "tokens": "mean"}

    def state(self) -> dict[str, Any]:
        """Give the vectors kept so far."""
        return {} if self.rows is None else self.rows.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what another run gave as its state, after `begin` with the same models."""
        if state:
            assert self.rows is not None
            self.rows.restore(state)

    def _keys(self) -> tuple[str, ...]:
        return tuple(place.key for place in self.places)


def require_images(name: str, found: int, least: int) -> None:
    """Refuse too few images.

    Raises:
        OptionError: fewer than the least.
    """
    if found < least:
        raise OptionError(
            f"{name} needs at least {least} images, here are {found}; show more images, or choose "
            "other analyzers"
        )
