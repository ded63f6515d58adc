"""Reach and breadth of depth-wise kernels, by channel, beside those of attention heads."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mimprobe.analyzers.analyzer import Measured
from mimprobe.analyzers.view import View
from mimprobe.errors import NonFiniteError
from mimprobe.measures.kernels import kernel_distance, kernel_entropy, kernel_entropy_normalised
from mimprobe.models.convolutions import Depthwise, depthwise_convolutions
from mimprobe.models.sites import Layout
from mimprobe.shapes import PerChannel
from mimprobe.stream import State
from mimprobe.tables import CHANNEL_COLUMNS

NOTE = "a property of the weights, not of images"


class Found(NamedTuple):
    """One metric of all channels of one convolution."""

    model: str
    convolution: Depthwise
    metric: str
    values: PerChannel


class Kernels:
    """How far and how broadly the kernels of large convolutions reach.

    It looks at no site and remembers no image: all it tells is read off the weights in `begin`.
    """

    name = "kernels"
    columns: tuple[str, ...] = CHANNEL_COLUMNS
    least_images: int = 1
    units = {"kernel_distance": "px", "kernel_entropy": "nats", "kernel_entropy_normalised": "1"}  # noqa: RUF012
    definition = (
        "with p the absolute weights of a channel's kernel divided by their sum: "
        "kernel_distance = sum_k p_k |x_k - c|, the distance from the kernel's centre; "
        "kernel_entropy = -sum_k p_k log p_k; normalised: divided by the logarithm of the number "
        "of taps"
    )

    def __init__(self) -> None:
        self._found: tuple[Found, ...] = ()

    def sites(self, places: Layout) -> tuple[str, ...]:  # noqa: ARG002
        """None: weights are there before the pass."""
        return ()

    def begin(self, places: Mapping[str, Layout], n_images: int) -> None:  # noqa: ARG002
        """Read the kernels of these models.

        Raises:
            NonFiniteError: a kernel holds NaN or infinity.
        """
        self._found = tuple(
            Found(model, convolution, metric, values)
            for model, place in places.items()
            for convolution in depthwise_convolutions(place)
            for metric, values in _measured(model, convolution).items()
        )

    def measure(self, view: View) -> Measured:
        """Nothing: it asks for no site."""
        raise AssertionError(f"{self.name} asks for no site, but was shown {view}")

    def add(self, images: Sequence[int], measured: Mapping[str, Mapping[str, Measured]]) -> None:
        """Nothing: no image changes a weight."""

    def merge(self, other: "Kernels") -> None:
        """Take over the other's models where this one has not begun; equal ones are the same."""
        self._found = self._found or other._found

    def state(self) -> State:
        """Nothing is remembered: `begin` reads the weights anew."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing: `begin` has read all there is."""

    def table(self, kinds: Mapping[str, str]) -> pd.DataFrame:
        """One row for each model, layer, convolution, channel and metric."""
        frames = [self._rows(found, kinds[found.model]) for found in self._found]
        if not frames:
            return pd.DataFrame(columns=list(CHANNEL_COLUMNS))
        return pd.concat(frames, ignore_index=True)[list(CHANNEL_COLUMNS)]

    def _rows(self, found: Found, kind: str) -> pd.DataFrame:
        values = found.values.numpy()
        constant = {
            "model": found.model, "kind": kind, "site": found.convolution.site,
            "layer": found.convolution.layer, "convolution": found.convolution.name,
            "metric": found.metric, "unit": self.units[found.metric],
            "std": np.nan, "se": np.nan, "n": 0, "note": NOTE,
        }  # fmt: skip
        return pd.DataFrame({"channel": np.arange(len(values)), "value": values, **constant})

    def describe(self) -> dict[str, Any]:
        """Definition and units."""
        return {"definition": self.definition, "units": dict(self.units)}


def _measured(model: str, convolution: Depthwise) -> dict[str, PerChannel]:
    kernels = convolution.kernels
    if not bool(kernels.isfinite().all()):
        raise NonFiniteError(
            f"model {model!r} has NaN or infinity in the weights of {convolution.name!r} at "
            f"{convolution.site}; look at its weights"
        )
    return {
        "kernel_distance": kernel_distance(kernels, convolution.spacing).cpu(),
        "kernel_entropy": kernel_entropy(kernels).cpu(),
        "kernel_entropy_normalised": kernel_entropy_normalised(kernels).cpu(),
    }
