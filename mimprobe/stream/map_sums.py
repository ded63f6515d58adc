"""Sums of maps over images, for what can only be said of the average map.

What belongs here: adding tensors up in float64. What does not: whose they are, and which images
were seen (`stream.moments` beside it refuses an image that comes twice).
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mimprobe.stream.state import State


class MapSums:
    """One float64 tensor for each name, 8 bytes for each of its entries, however many images."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, total: Float[Tensor, "*shape"]) -> None:
        """Add a sum over some images; it is not modified."""
        if name in self._sums:
            self._sums[name] += total.detach().cpu()
        else:
            self._sums[name] = total.detach().to("cpu", torch.float64, copy=True)

    def merge(self, other: "MapSums") -> None:
        """Add all that another accumulator remembers, which stays as it is."""
        for name, total in other._sums.items():
            self.add(name, total)

    def get(self, name: str) -> Float64[Tensor, "*shape"] | None:
        """Give a sum, or None where nothing was added under this name."""
        return self._sums.get(name)

    def state(self) -> State:
        """Give all sums."""
        return {"sums": dict(self._sums)}

    def restore(self, state: State) -> None:
        """Take over a state, in the place of what was remembered here."""
        self._sums = {name: total.clone() for name, total in state["sums"].items()}
