"""An exponential moving average of the weights, kept beside them.

What belongs here: the average. What does not: when it is updated (`engine`) and written (`fit`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mimprobe.train.parallel import shared_out


class Average:
    """`a <- d a + (1 - d) w` for each parameter w, by name.

    The decay grows to its value as `min(decay, (1 + step) / (10 + step))`, so that the untrained
    weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Begin at the present weights; a decay of 0 keeps no average."""
        self.decay = decay
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().clone()
            for name, parameter in module.named_parameters()
            if decay
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        if not self.decay:
            return
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            average = self.weights[name]
            average.mul_(1 - share).add_(parameter.detach(), alpha=share)

    @contextmanager
    def in_place(self, module: nn.Module) -> Iterator[None]:
        """Put the average in the place of the weights, and these back after."""
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(kept)

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from a stored average."""
        for name, average in self.weights.items():
            average.copy_(shared_out(weights[name], average))
