"""What the analyzers with values for each image have in common.

What belongs here: remembering those values, and their table; a value for each head is what most
have. What does not: the values, and analyzers with one value for a whole layer (`per_layer`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import torch

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.view import View
from mimprobe.models.sites import Layout
from mimprobe.stream import ImageValues, State
from mimprobe.tables import HEAD_COLUMNS, PER_IMAGE_KEYS, PerImageValues

LAYER_MEAN = -1
"""Head number of the mean over a layer's heads in the per-image values; empty in the table."""


class Column(NamedTuple):
    """What one column of a model's values holds; `at` is its place on a curve, NaN for none."""

    site: str
    layer: int
    head: int
    metric: str
    at: float = math.nan


class PerImageAnalyzer(ABC):
    """A diagnostic with one value for each image, head and metric."""

    name: ClassVar[str]
    units: ClassVar[Mapping[str, str]]
    """Metrics that `measure` may give, with their units."""
    definition: ClassVar[str]
    columns: tuple[str, ...] = HEAD_COLUMNS
    least_images: int = 1
    prefix: str

    def __init__(self) -> None:
        self._layers: dict[str, dict[str, int]] = {}
        self._columns: dict[str, tuple[Column, ...]] = {}
        self._values: dict[str, ImageValues] = {}

    @abstractmethod
    def measure(self, view: View) -> Measured:
        """Give (image, head) values by metric."""

    def sites(self, places: Layout) -> tuple[str, ...]:
        """All attention sites."""
        return places.attention_sites

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:  # noqa: ARG002
        """Note at which layer each site stands, and forget an earlier run."""
        self._columns, self._values = {}, {}
        self._layers = {
            model: {name: place[name].layer for name in self.sites(place)}
            for model, place in places.items()
        }

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Remember a batch, with the mean over the heads of each layer."""
        for model, sites in measured.items():
            columns: list[Column] = []
            blocks: list[torch.Tensor] = []
            for site, metrics in sites.items():
                for metric, values in metrics.items():
                    place = Column(site, self._layers[model][site], LAYER_MEAN, metric)
                    of_values, of_mean = self.columns_of(place, values.shape[1])
                    columns += [*of_values, *of_mean]
                    blocks += [values, *(values.nanmean(1, keepdim=True) for _ in of_mean)]
            if not columns:
                continue
            self._columns.setdefault(model, tuple(columns))
            self._values.setdefault(model, ImageValues()).add(images, torch.cat(blocks, 1).cpu())

    def columns_of(self, place: Column, count: int) -> tuple[list[Column], list[Column]]:
        """Say what the columns of a metric's values are, and the column of their mean if any."""
        return [place._replace(head=head) for head in range(count)], [place]

    def merge(self, other: "PerImageAnalyzer") -> None:
        """Take over the other's images."""
        for model, values in other._values.items():
            self._columns.setdefault(model, other._columns[model])
            self._layers.setdefault(model, other._layers[model])
            self._values.setdefault(model, ImageValues()).merge(values)

    def state(self) -> State:
        """Give columns and values of each model."""
        return {
            model: {
                "columns": [tuple(column) for column in self._columns[model]],
                "values": values.state(),
            }
            for model, values in self._values.items()
        }

    def restore(self, state: State) -> None:
        """Take over a state of the same models."""
        self._columns, self._values = {}, {}
        for model, stored in state.items():
            self._columns[model] = tuple(Column(*column) for column in stored["columns"])
            self._values[model] = ImageValues()
            self._values[model].restore(stored["values"])

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """One row for each model, layer, head and metric."""
        frames = [pd.DataFrame(columns=list(self.columns))]
        for model, values in self._values.items():
            frame = pd.DataFrame(self._columns[model])
            frame["model"], frame["kind"] = model, kinds[model]
            frame["unit"] = frame["metric"].map(dict(self.units))
            statistics = values.statistics()
            frame["value"], frame["std"] = statistics.mean.numpy(), statistics.std.numpy()
            frame["se"], frame["n"] = statistics.se.numpy(), statistics.n.numpy()
            frames.append(frame[list(self.columns)])
        table = pd.concat(frames[1:] or frames, ignore_index=True)
        heads = table["head"].astype("Int64")
        table["head"] = heads.mask(heads == LAYER_MEAN)
        return table

    def per_image(self, ids: Sequence[str]) -> PerImageValues:
        """Give the value of every image, `ids` naming them by number; without those of curves."""
        columns, blocks, numbers = [], [], torch.arange(0)
        for model, stream in self._values.items():
            numbers, values = stream.by_image()
            frame = pd.DataFrame(self._columns[model]).assign(model=model)
            single = frame["at"].isna()
            columns.append(frame[single])
            blocks.append(values.numpy()[:, single.to_numpy()].astype(np.float32))
        if not columns:
            return PerImageValues(
                (), pd.DataFrame(columns=list(PER_IMAGE_KEYS)), np.empty((0, 0), np.float32)
            )
        frame = pd.concat(columns, ignore_index=True)[list(PER_IMAGE_KEYS)]
        return PerImageValues(
            tuple(ids[number] for number in numbers.tolist()), frame, np.concatenate(blocks, 1)
        )

    def describe(self) -> dict[str, Any]:
        """Definition, units and prefix policy."""
        return {"definition": self.definition, "units": dict(self.units), "prefix": self.prefix}
