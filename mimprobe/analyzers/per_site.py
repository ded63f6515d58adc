"""What the analyzers with many numbers for each layer have in common.

What belongs here: remembering only mean and spread over images of what `measure` gives, and the
columns that all tables share. What does not: what the numbers are, and the columns of their own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.view import View
from mimprobe.models.sites import Layout
from mimprobe.stream import Moments, State


class Block(NamedTuple):
    """What some neighbouring columns of a model's moments hold: one quantity of one site."""

    site: str
    quantity: str
    shape: tuple[int, ...]


class Summary(NamedTuple):
    """Mean, standard deviation, standard error and number of images, in the quantity's shape."""

    value: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    se: npt.NDArray[np.float64]
    n: npt.NDArray[np.int64]


class PerSiteAnalyzer(ABC):
    """A diagnostic of attention of which the single images are not kept."""

    name: ClassVar[str]
    units: ClassVar[Mapping[str, str]]
    """Metrics of its table, with their units."""
    definition: ClassVar[str]
    columns: tuple[str, ...]
    least_images: int = 1
    prefix = "renormalise"

    def __init__(self) -> None:
        self._layers: dict[str, dict[str, int]] = {}
        self._blocks: dict[str, tuple[Block, ...]] = {}
        self._moments: dict[str, Moments] = {}

    @abstractmethod
    def measure(self, view: View) -> Measured:
        """Give quantities of any shape for each image."""

    @abstractmethod
    def rows(self, model: str, site: str, found: Mapping[str, Summary]) -> pd.DataFrame:
        """Give the rows of one site, without the columns that all sites have."""

    def sites(self, places: Layout) -> tuple[str, ...]:
        """All attention sites."""
        return places.attention_sites

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:  # noqa: ARG002
        """Note at which layer each site stands, and forget an earlier run."""
        self._blocks, self._moments = {}, {}
        self._layers = {
            model: {name: place[name].layer for name in self.sites(place)}
            for model, place in places.items()
        }

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Take in a batch."""
        for model, sites in measured.items():
            parts = [
                (Block(site, quantity, tuple(values.shape[1:])), values.flatten(1))
                for site, quantities in sites.items()
                for quantity, values in quantities.items()
            ]
            if parts:
                self._blocks.setdefault(model, tuple(block for block, _ in parts))
                joined = torch.cat([values for _, values in parts], 1)
                self._moments.setdefault(model, Moments()).add(images, joined)

    def merge(self, other: "PerSiteAnalyzer") -> None:
        """Take over the other's images."""
        for model, moments in other._moments.items():
            self._blocks.setdefault(model, other._blocks[model])
            self._layers.setdefault(model, other._layers[model])
            self._moments.setdefault(model, Moments()).merge(moments)

    def state(self) -> State:
        """Give blocks and moments of each model."""
        return {
            model: {
                "blocks": [tuple(block) for block in self._blocks[model]],
                "moments": moments.state(),
            }
            for model, moments in self._moments.items()
        }

    def restore(self, state: State) -> None:
        """Take over a state of the same models."""
        self._blocks, self._moments = {}, {}
        for model, stored in state.items():
            self._blocks[model] = tuple(
                Block(site, quantity, tuple(shape)) for site, quantity, shape in stored["blocks"]
            )
            self._moments[model] = Moments()
            self._moments[model].restore(stored["moments"])

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """The rows of all sites, models in the order in which they were measured."""
        frames = []
        for model in self._moments:
            for site, found in self._summaries(model):
                frame = self.rows(model, site, found)
                frame["model"], frame["kind"], frame["site"] = model, kinds[model], site
                frame["layer"] = self._layers[model][site]
                frame["unit"] = frame["metric"].map(dict(self.units))
                frames.append(frame[list(self.columns)])
        if not frames:
            return pd.DataFrame(columns=list(self.columns))
        return pd.concat(frames, ignore_index=True)

    def describe(self) -> dict[str, Any]:
        """Definition, units and prefix policy."""
        return {"definition": self.definition, "units": dict(self.units), "prefix": self.prefix}

    def _summaries(self, model: str) -> Iterator[tuple[str, dict[str, Summary]]]:
        statistics = self._moments[model].statistics()
        columns = [
            column.numpy()
            for column in (statistics.mean, statistics.std, statistics.se, statistics.n)
        ]
        by_site: dict[str, dict[str, Summary]] = {}
        start = 0
        for site, quantity, shape in self._blocks[model]:
            end = start + int(np.prod(shape))
            parts = [column[start:end].reshape(shape) for column in columns]
            by_site.setdefault(site, {})[quantity] = Summary(*parts)
            start = end
        yield from by_site.items()


def head_numbers(heads: int, entries: int) -> "pd.Series[Any]":
    """Number the heads, then the mean over them without a number, `entries` rows each."""
    numbers = pd.Series([*range(heads), pd.NA], dtype="Int64")
    return numbers.repeat(entries).reset_index(drop=True)


def flat(summary: Summary) -> dict[str, npt.NDArray[Any]]:
    """Give value, std, se and n as columns, last axis fastest."""
    return {name: values.ravel() for name, values in summary._asdict().items()}
